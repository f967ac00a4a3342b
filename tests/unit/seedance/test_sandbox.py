"""The fake Ark refuses what the documentation forbids, and what it bills is what the gateway reckons."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest
from PIL import Image

from adapters.seedance import _sandbox
from adapters.seedance._adapter import Seedance
from adapters.seedance._sandbox_orders import No, read_body
from gateway.catalog import Catalog
from gateway.catalog.prices import cost, price_terms
from gateway.kit.sandbox import Callback, Desk, FakeJob, Refusal
from gateway.kit.testing import make_job
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Continues, ModelCard, Offer, Output, Stopped, Succeeded, Usage

from .conftest import Builds, fake_ark

TODAY = date(2026, 11, 26)
ONE_FIVE = "seedance-1-5-pro-251215"
LITE = "seedance-1-0-lite-i2v-250428"
PRO = "seedance-1-0-pro-250528"
TWO = "dreamina-seedance-2-0-260128"
TWO_FIVE = "dreamina-seedance-2-5-260628"


def text(prompt: str = "a fox") -> dict[str, Any]:
    return {"type": "text", "text": prompt}


def picture(size: tuple[int, int] = (640, 360), kind: str = "png") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image(role: str | None = "first_frame", url: str | None = None) -> dict[str, Any]:
    item = {"type": "image_url", "image_url": {"url": url or picture()}}
    return item if role is None else item | {"role": role}


def calling(world: SandboxWorld) -> httpx.Client:
    headers = {"Authorization": f"Bearer {_sandbox.KEY}"}
    return httpx.Client(base_url=f"{world.url}/api/v3/contents/generations", headers=headers)


@pytest.fixture
def http(world: SandboxWorld) -> Iterator[httpx.Client]:
    with calling(world) as http:
        yield http


@pytest.fixture(scope="module")
def open_world() -> Iterator[SandboxWorld]:
    """One fake for the many tests that have nothing ordered of it."""
    with fake_ark() as world:
        yield world


@pytest.fixture(scope="module")
def plain(open_world: SandboxWorld) -> Iterator[httpx.Client]:
    with calling(open_world) as http:
        yield http


def create(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/tasks", json={"model": ONE_FIVE, "content": [text()]} | body)


def made(http: httpx.Client, **body: Any) -> dict[str, Any]:
    """The task that a create made, as it is shown."""
    answer = create(http, **body)
    assert answer.status_code == 200, answer.text
    return shown(http, answer.json()["id"])


def shown(http: httpx.Client, id: str) -> dict[str, Any]:
    task: dict[str, Any] = http.get(f"/tasks/{id}").raise_for_status().json()
    return task


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"prompt": "a fox"}, 400, "InvalidParameter", "prompt"),
        ({"duration": "5"}, 400, "InvalidParameter", "duration"),
        ({"content": []}, 400, "InvalidParameter", "content"),
        ({"content": [{"type": "text"}]}, 400, "MissingParameter", "content.0.text.text"),
        ({"content": [{"type": "video_url"}]}, 400, "InvalidParameter", "content.0"),
        ({"model": "seedance-9"}, 404, "InvalidEndpointOrModel.NotFound", "model"),
        ({"model": f"doubao-{ONE_FIVE}"}, 404, "InvalidEndpointOrModel.NotFound", "model"),
        ({"resolution": "360p"}, 400, "InvalidParameter", "resolution"),
        ({"resolution": "4k"}, 400, "InvalidParameter", "resolution"),
        ({"ratio": "5:4"}, 400, "InvalidParameter", "ratio"),
        ({"duration": 3}, 400, "InvalidParameter", "duration"),
        ({"duration": 13}, 400, "InvalidParameter", "duration"),
        ({"model": PRO, "duration": -1}, 400, "InvalidParameter", "duration"),
        ({"model": PRO, "generate_audio": False}, 400, "InvalidParameter", "generate_audio"),
        ({"model": TWO, "camera_fixed": True}, 400, "InvalidParameter", "camera_fixed"),
        ({"model": TWO, "service_tier": "flex"}, 400, "InvalidParameter", "service_tier"),
        ({"model": TWO, "resolution": "4k", "ratio": "1:1"}, 400, "InvalidParameter", "ratio"),
        ({"seed": -2}, 400, "InvalidParameter", "seed"),
        ({"seed": 2**32}, 400, "InvalidParameter", "seed"),
        ({"execution_expires_after": 3599}, 400, "InvalidParameter", "execution_expires_after"),
        ({"safety_identifier": "x" * 65}, 400, "InvalidParameter", "safety_identifier"),
        ({"callback_url": "gateway"}, 400, "InvalidParameter", "callback_url"),
        ({"draft": True, "resolution": "720p"}, 400, "InvalidParameter", "resolution"),
        ({"draft": True, "service_tier": "flex"}, 400, "InvalidParameter", "service_tier"),
        ({"draft": True, "return_last_frame": True}, 400, "InvalidParameter", "return_last_frame"),
        ({"model": PRO, "draft": True}, 400, "InvalidParameter", "draft"),
        ({"model": TWO_FIVE, "draft": True}, 400, "InvalidParameter", "draft"),
        ({"content": [image("last_frame")]}, 400, "InvalidParameter", "content"),
        ({"content": [text(), image(), image("reference_image")]}, 400, "InvalidParameter", "content"),
        ({"content": [text(), image(None), image(None)]}, 400, "InvalidParameter", "content"),
        ({"content": [text(), image("reference_image")]}, 400, "InvalidParameter", "content"),
        ({"model": LITE}, 400, "InvalidParameter", "content"),
        ({"model": LITE, "content": [image("reference_image")] * 5}, 400, "InvalidParameter", "content"),
        (
            {"model": LITE, "content": [image("reference_image")], "resolution": "1080p"},
            400,
            "InvalidParameter",
            "resolution",
        ),
        (
            {"model": LITE, "content": [image("reference_image")], "camera_fixed": True},
            400,
            "InvalidParameter",
            "camera_fixed",
        ),
        (
            {"model": "seedance-1-0-pro-fast-251015", "content": [image(), image("last_frame")]},
            400,
            "InvalidParameter",
            "content",
        ),
        (
            {"model": TWO_FIVE, "content": [image()], "ratio": "16:9"},
            400,
            "InvalidParameter.TaskTypeConstraint",
            "ratio",
        ),
        ({"content": [image(url=picture((300, 640)))]}, 400, "InvalidParameter", "image_url"),
        ({"content": [image(url=picture((1000, 400)))]}, 400, "InvalidParameter", "image_url"),
        ({"content": [image(url=picture(kind="jpeg"))]}, 400, "InvalidParameter", "image_url"),
        ({"content": [image(url="data:image/png;base64,AAAA")]}, 400, "InvalidParameter", "image_url"),
        (
            {"content": [{"type": "draft_task", "draft_task": {"id": "cgt-none"}}]},
            400,
            "InvalidParameter",
            "content.draft_task.id",
        ),
    ],
)
def test_what_the_documentation_forbids(
    open_world: SandboxWorld, plain: httpx.Client, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    taken = open_world.created()
    answer = create(plain, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert "Request id: 0217" in error["message"]
    assert open_world.created() == taken


def test_a_request_has_64_mb_at_most() -> None:
    with pytest.raises(No, match="64 MB"):
        read_body(b" " * 64_000_001)


def test_a_missing_model_is_missing(plain: httpx.Client) -> None:
    error = plain.post("/tasks", json={"content": [text()]}).json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("MissingParameter", "model", "BadRequest")


@pytest.mark.parametrize("header", [None, "", "Bearer another-key", f"Token {_sandbox.KEY}"])
def test_only_its_key_is_let_in(open_world: SandboxWorld, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    tasks = f"{open_world.url}/api/v3/contents/generations/tasks"
    for method, url in (("POST", tasks), ("GET", tasks), ("GET", f"{tasks}/x"), ("DELETE", f"{tasks}/x")):
        answer = httpx.request(method, url, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "AuthenticationError")


def test_a_task_from_its_create_to_its_end(world: SandboxWorld, http: httpx.Client) -> None:
    world.hold()
    created = create(http, safety_identifier="job-42", seed=7, generate_audio=False).json()
    assert created == {"id": created["id"], "safety_identifier": "job-42"}
    assert created["id"].startswith("cgt-20")
    assert len(created["id"]) == 24
    running = shown(http, created["id"])
    assert running["status"] == "running"
    assert running.keys().isdisjoint({"content", "usage"})

    world.succeed()
    task = made(http, seed=7, generate_audio=False, return_last_frame=True)
    assert task["usage"] == {"completion_tokens": 108_900, "total_tokens": 108_900}
    told = {name: task[name] for name in ("seed", "resolution", "ratio", "duration", "framespersecond")}
    assert told == {
        "seed": 7,
        "resolution": "720p",
        "ratio": "16:9",
        "duration": 5,
        "framespersecond": 24,
    }
    frame = httpx.get(task["content"]["last_frame_url"]).raise_for_status()
    with Image.open(io.BytesIO(frame.content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (1280, 720))


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"model": PRO, "duration": 5}, 246_840),
        ({"model": PRO, "resolution": "720p", "duration": 5}, 103_818),
        ({"model": TWO, "resolution": "1080p"}, 245_025),
        ({"model": TWO, "resolution": "4k"}, 980_100),
        ({"resolution": "480p"}, 50_639),
        ({"resolution": "480p", "ratio": "9:16"}, 50_639),
        ({"duration": -1}, 108_900),
        ({"content": [image()], "resolution": "480p", "ratio": "adaptive"}, 50_639),
        ({"content": [image(url=picture((640, 640)))], "resolution": "480p"}, 48_400),
        ({"content": [image(None)], "resolution": "480p"}, 50_639),
    ],
)
def test_tokens_count_one_frame_more(plain: httpx.Client, body: dict[str, Any], size: int) -> None:
    assert made(plain, **body)["usage"]["completion_tokens"] == size


def test_a_flag_in_the_prompt_costs_more(world: SandboxWorld, http: httpx.Client) -> None:
    asked = {"model": PRO, "resolution": "480p", "duration": 2}
    plain = made(http, **asked)
    flagged = made(http, **asked, content=[text("a fox --rs 1080p --dur 12 --ratio 5:7")])
    assert (flagged["resolution"], flagged["duration"], flagged["ratio"]) == ("1080p", 12, plain["ratio"])
    cheap, dear = (line.usd for line in world.bill())
    assert dear > 20 * cheap
    asked = {"model": TWO, "resolution": "480p"}
    assert made(http, **asked, content=[text("a fox --rs 1080p")])["resolution"] == "480p"


def test_a_draft_is_finished_at_another_size(world: SandboxWorld, http: httpx.Client) -> None:
    draft = made(http, draft=True, ratio="9:16", duration=4, seed=9, generate_audio=False)
    assert (draft["draft"], draft["resolution"]) == (True, "480p")
    finish = [{"type": "draft_task", "draft_task": {"id": draft["id"]}}]
    final = made(http, content=finish, resolution="1080p")
    kept = ("ratio", "duration", "seed", "generate_audio")
    assert [final[name] for name in kept] == [draft[name] for name in kept]
    assert (final["draft"], final["resolution"], final["draft_task_id"]) == (False, "1080p", draft["id"])

    for name, value in {"ratio": "9:16", "seed": 9, "generate_audio": False, "duration": 4}.items():
        assert create(http, content=finish, **{name: value}).json()["error"]["param"] == name
    assert create(http, content=[*finish, text()]).status_code == 400
    assert create(http, content=finish * 2).status_code == 400
    again = [{"type": "draft_task", "draft_task": {"id": final["id"]}}]
    assert create(http, content=again).json()["error"]["param"] == "content.draft_task.id"
    world.hold()
    unfinished = create(http, draft=True).json()["id"]
    early = [{"type": "draft_task", "draft_task": {"id": unfinished}}]
    assert create(http, content=early).json()["error"]["param"] == "content.draft_task.id"


def test_the_list_shows_one_tier_and_what_was_asked_for(http: httpx.Client) -> None:
    ids = [create(http, safety_identifier=f"job-{n}").json()["id"] for n in range(3)]
    flex = create(http, service_tier="flex").json()["id"]

    def listed(**query: Any) -> tuple[list[str], int]:
        page = http.get("/tasks", params=query).raise_for_status().json()
        return [task["id"] for task in page["items"]], page["total"]

    assert listed() == (ids[::-1], 3)
    assert listed(**{"filter.service_tier": "flex"}) == ([flex], 1)
    assert listed(page_num=2, page_size=2) == (ids[:1], 3)
    assert listed(**{"filter.task_ids": [ids[0], ids[2], flex]}) == ([ids[2], ids[0]], 2)
    assert listed(**{"filter.status": "running"}) == ([], 0)
    assert listed(**{"filter.model": PRO}) == ([], 0)
    for query in ({"page_size": 501}, {"page_num": 0}, {"filter.tag": "x"}):
        assert http.get("/tasks", params=query).json()["error"]["code"] == "InvalidParameter"


def test_a_list_of_certain_tasks_is_a_look_at_each_of_them(http: httpx.Client) -> None:
    id = create(http, content=[text("a kite [[sandbox:server_error_burst@look=2]]")]).json()["id"]
    assert http.get("/tasks").status_code == 200, "nobody looks at it"
    assert http.get("/tasks", params={"filter.task_ids": id}).status_code == 500
    assert http.get(f"/tasks/{id}").status_code == 500
    assert http.get("/tasks", params={"filter.task_ids": id}).json()["total"] == 1


def test_delete_stops_what_waits_refuses_what_runs_and_removes_what_is_over(
    world: SandboxWorld, http: httpx.Client
) -> None:
    done = made(http)["id"]
    assert http.delete(f"/tasks/{done}").json() == {}
    assert http.get(f"/tasks/{done}").json()["error"]["code"] == "ResourceNotFound"

    world.hold()
    running = create(http).json()["id"]
    refused = http.delete(f"/tasks/{running}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "TaskRunningCannotCancel")

    waits(world)
    queued = create(http).json()["id"]
    assert http.delete(f"/tasks/{queued}").json() == {}
    assert shown(http, queued)["status"] == "cancelled"
    assert http.delete(f"/tasks/{queued}").status_code == 400


def waits(world: SandboxWorld) -> None:
    """Have tasks stay in the queue."""
    pace = world.sandbox.shared.pace
    world.sandbox.shared.pace = type(pace)(queue_s=100_000, render_s=0)


async def test_the_adapter_stops_only_what_waits(world: SandboxWorld, ark: Seedance, job: Builds) -> None:
    waits(world)
    ticket = await ark.submit(job("seedance-1.5-pro", size="640x640"))
    assert await ark.cancel(ticket) is True
    assert isinstance(await ark.poll(ticket), Stopped)
    assert await ark.cancel(ticket) is False
    assert world.bill()[0].cancelled_at is not None


async def test_a_task_that_took_too_long_is_expired_and_not_billed(
    world: SandboxWorld, ark: Seedance, job: Builds
) -> None:
    waits(world)
    ticket = await ark.submit(job("seedance-1.5-pro", size="640x640", request={"deadline": 60}))
    assert (await ark.poll(ticket)).state == "queued"
    now = world.sandbox.shared.now
    world.sandbox.shared.now = lambda: now() + 3600
    for _ in range(2):
        seen = await ark.poll(ticket)
        assert (seen.state, getattr(seen, "code", None)) == ("failed", "expired")
    assert world.bill()[0].cancelled_at is not None


async def test_many_jobs_of_both_tiers_are_seen_at_once(
    world: SandboxWorld, ark: Seedance, job: Builds
) -> None:
    jobs = [job("seedance-1.5-pro", size="640x640", preset=p) for p in ("flex", "standard", "draft")]
    tickets = [await ark.submit(one) for one in jobs]
    world.fail()
    tickets.append(await ark.submit(jobs[0]))
    assert [seen.state for seen in await ark.poll_many(tickets)] == [  # type: ignore[union-attr]  # no errors
        "succeeded",
        "succeeded",
        "succeeded",
        "failed",
    ]


async def test_a_draft_goes_on_to_its_final_video(
    world: SandboxWorld, ark: Seedance, job: Builds, continues: Continues
) -> None:
    draft = await ark.submit(job("seedance-1.5-pro", preset="draft", size="720x1280", audio=True))
    seen = await ark.poll(draft)
    assert isinstance(seen, Succeeded)
    assert seen.usage.tokens == 50_639
    final = job(
        "seedance-1.5-pro",
        size="720x1280",
        audio=True,
        request={"continues": continues},
        read_checkpoint=lambda: draft.model_dump_json().encode(),
    )
    seen = await ark.poll(await ark.submit(final))
    assert isinstance(seen, Succeeded)
    assert (seen.usage.tokens, seen.notes) == (108_900, ())
    assert [line.usd for line in world.bill()] == [Decimal("0.1215336"), Decimal("0.26136")]


@pytest.mark.parametrize(
    ("why", "status", "code"),
    [
        ("rate_limited", 429, "RateLimitExceeded.EndpointRPMExceeded"),
        ("out_of_credit", 403, "AccountOverdueError"),
        ("content_refused", 400, "InputTextSensitiveContentDetected"),
        ("model_gone", 404, "InvalidEndpointOrModel.NotFound"),
        ("server_error", 500, "InternalServiceError"),
    ],
)
def test_what_a_tester_can_have_a_create_answered_with(why: Refusal, status: int, code: str) -> None:
    answer = _sandbox.FakeArk().refuse(why)
    assert (answer.status_code, code in bytes(answer.body).decode()) == (status, True)


def test_a_job_that_failed_by_the_content_rules_says_so(world: SandboxWorld, http: httpx.Client) -> None:
    world.order("content_refused_late")
    task = made(http)
    assert (task["status"], task["error"]["code"]) == ("failed", "OutputVideoSensitiveContentDetected")


def test_its_callback_is_the_task(world: SandboxWorld, http: httpx.Client, ark: Seedance) -> None:
    id = create(http, callback_url="https://gateway.invalid/hooks/seedance/t0k").json()["id"]
    fake = _sandbox.FakeArk()
    desk = world.sandbox._desks[next(iter(world.sandbox._desks))]
    job = cast(FakeJob, desk.job(id, account="default"))
    call = cast(Callback, fake.callback(cast(Desk, desk), job))
    assert call.url == "https://gateway.invalid/hooks/seedance/t0k"
    assert ark.parse_webhook(call.headers, call.body) == [id]
    task = httpx.Response(200, content=call.body).json()
    assert task["status"] == "succeeded"
    assert task.keys() == shown(http, id).keys()
    quiet = create(http).json()["id"]
    assert fake.callback(cast(Desk, desk), cast(FakeJob, desk.job(quiet, account="default"))) is None


def ways(cards: Cards) -> Iterator[tuple[ModelCard, Offer, str, Output]]:
    """Each price dimension of each offer whose price is sourced: resolution, sound and preset."""
    for card in Catalog.join([("seedance", cards)]).cards:
        for offer in card.offers:
            if offer.region != "ap-southeast":
                continue
            sounds = (False, True) if card.audio == "optional" else (False,)
            for preset in offer.presets:
                if preset.params.get("unconfirmed"):
                    continue
                for resolution, sizes in dict(card.sizes).items():
                    if (card.id, resolution) == ("seedance-2.5", "1080p"):
                        continue  # its price is a guess
                    for audio in sounds:
                        seconds = card.durations.values[0]
                        output = Output(size=sizes[0], seconds=seconds, fps=24, audio=audio)
                        yield card, offer, preset.name, output


async def test_what_the_gateway_reckons_is_what_the_fake_bills(
    world: SandboxWorld, ark: Seedance, cards: Cards, picture: bytes
) -> None:
    seen = 0
    for card, offer, name, output in ways(cards):
        framed = picture if offer.limits.tasks == ("image-to-video",) else None
        job = make_job(
            offer,
            preset=name,
            size=output.size,
            seconds=str(output.seconds),
            fps=24,
            audio=output.audio,
            first_frame=framed,
        )
        done = await ark.poll(await ark.submit(job))
        assert isinstance(done, Succeeded)
        terms = price_terms(card, offer, job.preset, output, job.request.task, TODAY, None)
        billed = world.bill()[-1].usd
        assert cost(terms, output, done.usage) == billed, (offer.id, name, output)

        planned = cost(terms, output, Usage())
        drawn_smaller = name == "draft" and card.resolution_of(output.size) != "480p"
        assert planned > billed if drawn_smaller else planned == billed, (offer.id, name, output)
        seen += 1
    assert seen == 62
