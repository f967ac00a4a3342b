"""Every fault, as a client meets it."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from gateway.kit.testing import decode
from gateway.sandbox.faults import ALWAYS, KINDS, RETRY_AFTER, Fault, Order, Orders

from .conftest import Customer

TESTED_ELSEWHERE = {"callback_duplicate", "callback_forged", "callback_early"}  # test_callbacks.py


def test_every_fault_is_tested() -> None:
    text = Path(__file__).read_text("utf-8")
    assert {name for name in KINDS if f"[[sandbox:{name}" not in text} == TESTED_ELSEWHERE


@pytest.mark.parametrize(
    ("marker", "taken"),
    [("[[sandbox:drop_before_accept]]", 0), ("[[sandbox:drop_after_accept]]", 1)],
)
def test_a_dropped_connection(customer: Customer, marker: str, taken: int) -> None:
    prompt = f"a fox {marker}"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        customer.create(prompt)
    assert customer.world.created() == taken
    assert customer.create(prompt).status_code == 200  # sent again it is well
    assert customer.world.created() == taken + 1


def test_a_drop_of_what_is_refused_anyway_shows_the_refusal(customer: Customer) -> None:
    reply = httpx.post(f"{customer.world.url}/jobs", json={"prompt": "[[sandbox:drop_after_accept]]"})
    assert (reply.status_code, customer.world.created()) == (401, 0)


@pytest.mark.parametrize(
    ("form", "said"),
    [("seconds", "2"), ("absent", None), ("negative", "-5"), ("nan", "nan"), ("huge", "86400000000")],
)
def test_rate_limited_in_every_form(customer: Customer, form: str, said: str | None) -> None:
    prompt = f"a fox [[sandbox:rate_limited={form}]]"
    reply = customer.create(prompt)
    assert (reply.status_code, reply.json(), reply.headers.get("retry-after")) == (
        429,
        {"why": "rate_limited"},
        said,
    )
    assert customer.create(prompt).status_code == 200


def test_rate_limited_until_a_date(customer: Customer) -> None:
    reply = customer.create("a fox [[sandbox:rate_limited=date]]")
    assert parsedate_to_datetime(reply.headers["retry-after"]).tzinfo is not None


def test_a_burst_of_server_errors_ends(customer: Customer) -> None:
    prompt = "a fox [[sandbox:server_error_burst=2]]"
    assert [customer.create(prompt).status_code for _ in range(4)] == [503, 503, 200, 200]
    assert customer.world.created() == 2


def test_looks_may_be_disturbed_too(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:server_error_burst@look=2]] [[sandbox:rate_limited@look=nan]]")
    replies = [customer.look(id) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [503, 503, 429, 200]
    assert replies[2].headers["retry-after"] == "nan"


def test_html_instead_of_a_state(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:html=2]]")
    replies = [customer.look(id) for _ in range(3)]
    assert [reply.headers["content-type"].partition(";")[0] for reply in replies] == [
        "text/html",
        "text/html",
        "application/json",
    ]
    assert {reply.status_code for reply in replies} == {200}


def test_html_instead_of_the_job_that_was_taken(customer: Customer) -> None:
    reply = customer.create("[[sandbox:html@create]]")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert customer.world.created() == 1


@pytest.mark.parametrize("where", ["create", "look"])
def test_a_body_that_drips_and_ends_in_the_middle(customer: Customer, where: str) -> None:
    prompt = f"[[sandbox:slow_body@{where}=0.1]]"
    with pytest.raises(httpx.RemoteProtocolError):
        customer.look(customer.ordered(prompt))
    assert customer.world.created() == 1


@pytest.mark.parametrize(
    ("marker", "status", "why"),
    [
        ("[[sandbox:out_of_credit]]", 402, "out_of_credit"),
        ("[[sandbox:content_refused]]", 400, "content_refused"),
        ("[[sandbox:model_gone]]", 404, "model_gone"),
    ],
)
def test_a_refusal_stays(customer: Customer, marker: str, status: int, why: str) -> None:
    for _ in range(3):
        reply = customer.create(marker)
        assert (reply.status_code, reply.json()) == (status, {"why": why})
    assert customer.world.created() == 0


def test_an_unknown_status(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:unknown_status=2]]")
    assert [customer.state(id) for _ in range(3)] == ["daydreaming", "daydreaming", "succeeded"]


def test_a_status_that_goes_backwards(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:status_backwards]]")
    assert [customer.state(id) for _ in range(3)] == ["running", "queued", "succeeded"]


def test_an_address_that_has_expired_and_the_next_that_has_not(customer: Customer) -> None:
    customer.world.hold()
    held = customer.ordered("[[sandbox:expired_url]]")
    assert customer.state(held) == "running"
    customer.world.succeed()
    id = customer.ordered("[[sandbox:expired_url]]")
    assert [customer.file(id).status_code for _ in range(2)] == [403, 200]


def test_half_a_file_as_if_it_were_whole(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:truncated_file]]")
    half, whole = customer.file(id), customer.file(id)
    assert half.status_code == 200
    assert whole.content.startswith(half.content)
    assert len(half.content) == len(whole.content) // 2


def test_a_file_that_stalls(customer: Customer) -> None:
    id = customer.ordered("[[sandbox:stalled_file=0.1]]")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        customer.file(id)
    assert decode(customer.file(id).content).frames == 8


def test_a_clip_that_is_not_what_was_ordered(customer: Customer) -> None:
    small = decode(customer.file(customer.ordered("[[sandbox:wrong_resolution]]")).content)
    assert (small.width, small.height) == (32, 24)
    silent = decode(customer.file(customer.ordered("[[sandbox:missing_audio]]", audio=True)).content)
    heard = decode(customer.file(customer.ordered(audio=True)).content)
    assert (silent.has_audio, heard.has_audio) == (False, True)


@pytest.mark.parametrize(
    ("marker", "why"),
    [("[[sandbox:job_failed]]", "failed"), ("[[sandbox:content_refused_late]]", "content_refused")],
)
def test_a_job_that_fails_unbilled(customer: Customer, marker: str, why: str) -> None:
    reply = customer.look(customer.ordered(marker)).json()
    assert (reply["state"], reply["why"]) == ("failed", why)
    (line,) = customer.world.bill()
    assert line.billed(math.inf) == 0


def test_a_marker_that_is_none_is_told(customer: Customer) -> None:
    reply = customer.create("a fox [[sandbox:drop_it]]")
    assert reply.status_code == 400
    assert "there is no fault 'drop_it'" in reply.json()["error"]
    assert customer.world.created() == 0


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nothing", "there is no fault"),
        ("html@file", "html acts at look or create"),
        ("job_failed=3", "takes no value"),
        ("html=0", "how many times"),
        ("rate_limited=soon", "seconds, date"),
        ("slow_body=long", "seconds below"),
    ],
)
def test_what_is_no_fault(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Fault.parse(text)


def test_a_fault_reads_what_it_writes() -> None:
    for name, kind in KINDS.items():
        for place in kind.places:
            fault = Fault.parse(f"{name}@{place}")
            assert Fault.parse(str(fault)) == fault


def test_the_dice_are_seeded_and_fair() -> None:
    def drawn(seed: int) -> list[bool]:
        orders = Orders(seed, [Order(Fault.parse("job_failed"), probability=0.2)])
        return [bool(orders.draw("toy", b"%d" % number)) for number in range(1000)]

    assert drawn(7) == drawn(7) != drawn(8)
    assert 150 < sum(drawn(7)) < 250


def test_a_standing_order_meets_its_provider_so_many_times() -> None:
    orders = Orders(0, [Order(Fault.parse("html"), provider="toy", times=2)])
    hits = [(name, len(orders.draw(name, b"{}"))) for name in ("toy", "other", "toy", "toy")]
    assert hits == [("toy", 1), ("other", 0), ("toy", 1), ("toy", 0)]


def test_a_burst_by_chance_stays_with_the_create_that_it_hit() -> None:
    orders = Orders(0, [Order(Fault.parse("server_error_burst=3"), times=1)])
    bodies = (b"a", b"b", b"a", b"a", b"a")
    assert [len(orders.draw("toy", body)) for body in bodies] == [1, 0, 1, 1, 0]


def test_a_form_sent_again_is_the_same_create_though_its_boundary_is_new() -> None:
    orders = Orders(0)
    for boundary, hits in (("aaaa", 1), ("bbbb", 0)):
        body = f"--{boundary}\r\n\r\n[[sandbox:drop_before_accept]]\r\n--{boundary}--".encode()
        assert len(orders.draw("toy", body, f"multipart/form-data; boundary={boundary}")) == hits


def test_every_fault_is_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto" / "sandbox.md").read_text("utf-8")
    assert not [name for name in (*KINDS, *RETRY_AFTER, ALWAYS) if f"`{name}`" not in page]
