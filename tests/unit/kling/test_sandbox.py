"""Kling's double refuses what Kling refuses, bills what Kling bills, and the adapter gets on with it."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest
from PIL import Image

from adapters.kling._account import mint
from adapters.kling._adapter import Kling
from adapters.kling._sandbox import KlingSandbox
from adapters.kling._sandbox_auth import ACCESS_KEY, API_KEY, SECRET_KEY
from gateway.catalog.prices import MissingPrice, cost, price_terms
from gateway.sandbox.desk import ProviderDesk
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import (
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    Offer,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Running,
    Succeeded,
    Unavailable,
    Unsupported,
    Usage,
)

from ._jobs import CARDS, OFFERS, SIZES, adapter, build, job

TODAY = date(2026, 12, 1)
T2V, I2V = "/v1/videos/text2video", "/v1/videos/image2video"


def served(fake: KlingSandbox) -> SandboxWorld:
    return SandboxWorld(fake, lambda context: build(context.section("kling")))


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxWorld]:
    """One that no test changes."""
    with served(KlingSandbox()) as world:
        yield world


@pytest.fixture
def world() -> Iterator[SandboxWorld]:
    with served(KlingSandbox()) as world:
        yield world


@pytest.fixture
async def kling(world: SandboxWorld) -> AsyncIterator[Kling]:
    """The adapter, pointed at ``world``."""
    async with aclosing(world.adapter()) as opened:
        assert isinstance(opened, Kling)
        yield opened


def call(world: SandboxWorld, method: str, path: str, key: str | None = API_KEY, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=world.url, headers=headers, trust_env=False) as http:
        return http.request(method, path, **more)


def picture(width: int = 1280, height: int = 720, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def legacy(**change: Any) -> dict[str, Any]:
    return {"model_name": "kling-v2-6", "prompt": "a kite", "mode": "pro", **change}


def task(*, options: Any = None, prompt: Any = "a kite", **settings: Any) -> dict[str, Any]:
    return {"prompt": prompt, "settings": settings, "options": options or {}}


def frames(*parts: tuple[str, str], **settings: Any) -> dict[str, Any]:
    shown = [{"type": kind, "url": url} for kind, url in parts]
    return {"contents": [{"type": "prompt", "text": "a kite"}, *shown], "settings": settings}


FIRST, LAST = ("first_frame", picture()), ("last_frame", picture())
I26, I25 = "/image-to-video/kling-2.6", "/image-to-video/kling-2.5-turbo"

FORBIDDEN = [
    (T2V, legacy(seed=1)),
    (T2V, legacy(model="kling-v3", fps=24)),
    (T2V, legacy(duration=5)),
    (T2V, legacy(duration="7")),
    (T2V, legacy(mode="std", sound="on")),
    (T2V, legacy(mode="4k")),
    (T2V, legacy(mode="720p")),
    (T2V, legacy(sound=True)),
    (T2V, legacy(model_name="kling-v2-5-turbo", sound="off")),
    (T2V, legacy(model_name="kling-v2-1")),
    (T2V, legacy(model_name="kling-v2-master", mode="std")),
    (T2V, legacy(cfg_scale=0.5)),
    (T2V, legacy(prompt="a" * 2501)),
    (T2V, legacy(prompt="")),
    (T2V, legacy(aspect_ratio="4:3")),
    (T2V, legacy(image=picture())),
    (T2V, legacy(external_task_id=7)),
    (T2V, legacy(multi_shot=True)),
    (I2V, legacy()),
    (I2V, legacy(image=picture(), aspect_ratio="16:9")),
    (I2V, legacy(image="data:image/png;base64," + picture())),
    (I2V, legacy(image="no base64")),
    (I2V, legacy(image="é")),
    (I2V, legacy(image=picture(299, 299))),
    (I2V, legacy(image=picture(1000, 399))),
    (I2V, legacy(image=picture(kind="GIF"))),
    ("/text-to-video/kling-3.0", task(duration="5")),
    ("/text-to-video/kling-3.0", task(duration=16)),
    ("/text-to-video/kling-3.0", task(duration=2)),
    ("/text-to-video/kling-3.0", task(audio="on")),
    ("/text-to-video/kling-3.0", task(prompt="a" * 3073)),
    ("/text-to-video/kling-3.0", {**task(), "negative_prompt": "rain"}),
    ("/text-to-video/kling-3.0", {**task(), "model_name": "kling-3.0"}),
    ("/text-to-video/kling-3.0", frames()),
    ("/text-to-video/kling-3.0-turbo", task(audio="native")),
    ("/text-to-video/kling-3.0-turbo", task(resolution="4k")),
    ("/text-to-video/kling-3.0-turbo", task(multi_shot=False)),
    ("/text-to-video/kling-2.6", task(audio="native", resolution="720p")),
    ("/text-to-video/kling-2.6", task(duration=6)),
    ("/text-to-video/kling-2.5-turbo", task(audio="off")),
    ("/text-to-video/kling-2.5-turbo", task(options={"client_id": "x"})),
    (I26, frames()),
    (I26, frames(LAST, resolution="1080p")),
    (I26, frames(FIRST, LAST, resolution="720p")),
    (I26, frames(FIRST, LAST, resolution="1080p", audio="native")),
    (I26, frames(FIRST, FIRST)),
    (I26, frames(FIRST, aspect_ratio="16:9")),
    (I26, frames(FIRST, ("refer_image", picture()))),
    (I26, frames(("element", "1"))),
    (I25, frames(FIRST, LAST, resolution="720p")),
    ("/image-to-video/kling-3.0-turbo", frames(FIRST, LAST, resolution="1080p")),
    ("/omni-video/kling-3.0-omni", frames(*[("refer_image", picture())] * 8)),
    ("/omni-video/kling-3.0-omni", frames(multi_shot=False)),
    ("/omni-video/kling-3.0-omni", task()),
]


@pytest.mark.parametrize(("path", "body"), FORBIDDEN)
def test_a_body_that_the_specification_forbids_is_refused(
    shared: SandboxWorld, path: str, body: dict[str, Any]
) -> None:
    before = shared.created()
    answer = call(shared, "POST", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert set(answer.json()) == {"code", "message", "request_id"}
    assert shared.created() == before


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/text-to-video/kling-9", 404, 1203),
        ("POST", "/omni-video/kling-3.0", 404, 1203),
        ("POST", "/text-to-film/kling-3.0", 404, 1203),
        ("DELETE", f"{T2V}/1", 404, 1202),
        ("GET", f"{T2V}/1", 404, 1203),
        ("GET", "/tasks", 400, 1201),
        ("GET", "/tasks?task_ids=1&external_task_ids=2", 400, 1201),
        ("GET", f"{T2V}?pageSize=501", 400, 1201),
        ("GET", f"{T2V}?pageNum=0", 400, 1201),
    ],
)
def test_what_is_not_there_or_not_allowed(
    shared: SandboxWorld, method: str, path: str, status: int, code: int
) -> None:
    answer = call(shared, method, path, **({"json": task()} if method == "POST" else {}))
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def minted(shared: SandboxWorld, secret: str = SECRET_KEY, access: str = ACCESS_KEY, at: float = 0) -> str:
    return mint(access, secret, int(shared.sandbox.shared.now() + at))


@pytest.mark.parametrize(
    ("make", "legacy_code", "new_code"),
    [
        (lambda world: None, 1001, 1001),
        (lambda world: "another-key", 1002, 1002),
        (lambda world: minted(world), 1203, 1002),
        (lambda world: minted(world, secret="another-secret-of-32-characters!!"), 1002, 1002),
        (lambda world: minted(world, access="another"), 1002, 1002),
        (lambda world: minted(world, at=60), 1003, 1002),
        (lambda world: minted(world, at=-1801), 1004, 1002),
        (lambda world: minted(world)[:-8] + "AAAAAAAA", 1002, 1002),
    ],
)
def test_who_calls_is_checked(shared: SandboxWorld, make: Any, legacy_code: int, new_code: int) -> None:
    key = make(shared)
    assert call(shared, "GET", f"{T2V}/1", key).json()["code"] == legacy_code
    assert call(shared, "GET", "/tasks?task_ids=1", key).json()["code"] == new_code


def test_the_documented_bodies_are_taken_and_shown_in_the_documented_shape(world: SandboxWorld) -> None:
    made = call(world, "POST", T2V, json=legacy(sound="off", duration="5", external_task_id="job-42")).json()
    assert made["code"] == 0
    seen = call(world, "GET", f"{T2V}/{made['data']['task_id']}").json()["data"]
    assert seen == call(world, "GET", f"{T2V}/job-42").json()["data"] | {
        "task_result": seen["task_result"]  # each look has a URL of its own
    }
    assert (seen["task_status"], seen["final_unit_deduction"]) == ("succeed", "2.5")
    assert seen["task_info"] == {"external_task_id": "job-42"}
    assert seen["task_result"]["videos"][0]["duration"] == "5.041"
    assert [one["task_id"] for one in call(world, "GET", T2V).json()["data"]] == [made["data"]["task_id"]]
    assert call(world, "GET", I2V).json()["data"] == []

    ids = [
        call(world, "POST", path, json=body).json()["data"]["id"]
        for path, body in (
            ("/text-to-video/kling-3.0", task(options={"external_task_id": "a", "callback_url": "http://x"})),
            (I26, frames(FIRST, LAST, resolution="1080p")),
            (
                "/omni-video/kling-3.0-omni",
                frames(("refer_image", "https://x.example/a.png"), audio="native"),
            ),
        )
    ]
    shown = call(world, "GET", f"/tasks?task_ids={','.join(ids)},404").json()["data"]
    assert [one["id"] for one in shown] == ids
    assert {one["status"] for one in shown} == {"succeeded"}
    assert shown[0]["external_id"] == "a"
    assert shown[0]["outputs"][0]["type"] == "video"
    assert shown[0]["billing"][0]["amount"] == "3"


def test_the_list_comes_by_the_page(world: SandboxWorld) -> None:
    for _ in range(3):
        call(world, "POST", "/text-to-video/kling-2.6", json=task())
    first = call(world, "POST", "/tasks", json={"limit": 2}).json()["data"]
    assert (first["count"], first["has_more"]) == (2, True)
    second = call(world, "POST", "/tasks", json={"limit": 2, "cursor": first["next_cursor"]}).json()["data"]
    assert (second["count"], second["has_more"]) == (1, False)
    assert len({one["id"] for one in first["result"] + second["result"]}) == 3
    failed = [{"key": "status", "values": ["failed"]}]
    assert call(world, "POST", "/tasks", json={"filters": failed}).json()["data"]["result"] == []


@pytest.mark.parametrize("finds_texts", [False, True])
@pytest.mark.parametrize("upstream", ["kling-3.0", "kling-3.0-omni", "kling-v3"])
async def test_a_task_is_found_by_our_id_however_the_provider_finds_it(
    upstream: str, finds_texts: bool
) -> None:
    with served(KlingSandbox(finds_texts=finds_texts)) as world:
        async with aclosing(world.adapter()) as kling:
            ticket = await kling.submit(job(upstream))
            assert isinstance(kling, Kling)
            assert await kling.lookup(job(upstream)) == ticket
            assert await kling.lookup(replace(job(upstream), tag="att_02")) is None


async def test_our_id_twice_is_two_tasks_or_a_refusal(world: SandboxWorld, kling: Kling) -> None:
    await kling.submit(job("kling-v3"))
    await kling.submit(job("kling-v3"))
    assert world.created() == 2
    with served(KlingSandbox(duplicates="reject")) as strict:
        body = task(options={"external_task_id": "a"})
        codes = [call(strict, "POST", "/text-to-video/kling-2.6", json=body).json()["code"] for _ in "12"]
    assert codes == [0, 1201]


@pytest.mark.parametrize("upstream", ["kling-v3", "kling-3.0"])
async def test_where_our_id_is_refused_twice_an_order_sent_again_is_the_task_that_has_it(
    upstream: str,
) -> None:
    with served(KlingSandbox(duplicates="reject")) as world:
        async with aclosing(world.adapter()) as kling:
            first = await kling.submit(job(upstream))
            assert await kling.submit(job(upstream)) == first
        assert world.created() == 1


def ways() -> Iterator[Any]:
    """Every offer at every resolution, with and without sound."""
    for offer in CARDS.offers:
        card = next(card for card in CARDS.models if card.id == offer.model)
        for resolution in card.sizes:
            for audio in {"never": [False], "always": [True], "optional": [False, True]}[card.audio]:
                yield pytest.param(offer, card, resolution, audio, id=f"{offer.id}-{resolution}-{audio}")


@pytest.mark.parametrize(("offer", "card", "resolution", "audio"), [*ways()])
@pytest.mark.parametrize("seconds", ["5", "10"])
async def test_the_plans_price_is_what_the_double_bills(
    shared: SandboxWorld, offer: Offer, card: Any, resolution: str, audio: bool, seconds: str
) -> None:
    roles = ("first_frame",) if "text-to-video" not in card.tasks else ()
    ordered = job(
        offer.upstream,
        *roles,
        resolution=resolution,
        audio=audio,
        seconds=seconds,
        offer=offer,  # type: ignore[arg-type]
    )
    if (card.id, resolution, audio) == ("kling-2.6", "720p", True):
        with pytest.raises(MissingPrice):
            price_terms(card, offer, ordered.preset, ordered.output, ordered.request.task, TODAY, None)
        return
    async with aclosing(shared.adapter()) as kling:
        ticket = await kling.submit(ordered)
    terms = price_terms(card, offer, ordered.preset, ordered.output, ordered.request.task, TODAY, None)
    (line,) = [line for line in shared.bill() if line.job_id == ticket.id]
    assert line.usd == cost(terms, ordered.output, Usage())
    assert line.usd > 0


def test_the_specifications_own_examples_are_billed_so(world: SandboxWorld) -> None:
    call(world, "POST", T2V, json=legacy(duration="5"))
    call(world, "POST", T2V, json=legacy(duration="10", sound="on"))
    assert [line.usd for line in world.bill()] == [Decimal("0.35"), Decimal("1.40")]


async def test_the_clip_has_the_ordered_shape_and_one_shot(world: SandboxWorld, kling: Kling) -> None:
    desk = desk_of(world)
    ticket = await kling.submit(job("kling-3.0", "first_frame", portrait=True, audio=True, seconds="3"))
    made = desk.job(ticket.id, account="default")
    assert made is not None
    assert (made.clip.width, made.clip.height, made.clip.fps, made.clip.audio) == (1080, 1920, 24, True)
    assert made.data["multi_shot"] is False
    call(world, "POST", "/text-to-video/kling-3.0", json=task())
    assert desk.jobs(account="default")[0].data["multi_shot"] is True, "Kling's default"


def desk_of(world: SandboxWorld) -> ProviderDesk:
    return ProviderDesk("kling", world.url, world.sandbox.shared)


@pytest.mark.parametrize("upstream", ["kling-v3", "kling-3.0"])
async def test_its_callback_is_signed_and_names_the_task(
    world: SandboxWorld, kling: Kling, upstream: str
) -> None:
    fake, desk = KlingSandbox(), desk_of(world)
    ticket = await kling.submit(job(upstream, callback_url="https://gate.example/h"))
    made = desk.job(ticket.id, account="default")
    assert made is not None
    called = fake.callback(desk, made)
    assert called is not None
    assert called.url == "https://gate.example/h"
    assert kling.parse_webhook(called.headers, called.body) == [ticket.id]
    with pytest.raises(NotAuthorised):
        kling.parse_webhook(called.headers, called.body + b" ")
    assert fake.callback(desk, replace(made, callback_url=None)) is None


async def test_an_access_key_opens_the_older_api(world: SandboxWorld) -> None:
    pair = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "base_url": world.url}
    async with aclosing(adapter({"accounts": {"default": pair}})) as kling:
        ticket = await kling.submit(job("kling-v3"))
        assert isinstance(await kling.poll(ticket), Succeeded)
        with pytest.raises(Unsupported):
            await kling.submit(job("kling-3.0"))


@pytest.mark.parametrize("upstream", ["kling-v3", "kling-3.0"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limited", RateLimited),
        ("out_of_credit", OutOfCredit),
        ("content_refused", ContentBlocked),
        ("model_gone", ModelGone),
        ("server_error_burst=1", OutcomeUnknown),
    ],
)
async def test_a_refusal_on_demand_is_the_providers_own(
    world: SandboxWorld, kling: Kling, upstream: str, fault: str, error: type[ProviderError]
) -> None:
    world.order(fault, times=1)
    with pytest.raises(ProviderError) as caught:
        await kling.submit(job(upstream))
    assert type(caught.value) is error
    assert world.created() == 0


@pytest.mark.parametrize("upstream", ["kling-v3", "kling-3.0"])
async def test_what_becomes_of_a_job_on_demand(world: SandboxWorld, kling: Kling, upstream: str) -> None:
    world.order("unknown_status", times=1)
    ticket = await kling.submit(job(upstream))
    assert await kling.poll(ticket) == Running()
    assert isinstance(await kling.poll(ticket), Succeeded)
    world.order("content_refused_late", times=1)
    failed = await kling.poll(await kling.submit(job(upstream)))
    assert isinstance(failed, Failed)
    assert "risk control" in failed.message
    assert not failed.billed
    world.go_away()
    with pytest.raises(Unavailable):
        await kling.poll(ticket)


def test_the_sizes_of_this_test_are_the_cards() -> None:
    sizes = {name: size for card in CARDS.models for name, (size, *_) in card.sizes.items()}  # type: ignore[union-attr]
    assert sizes == SIZES
    assert set(OFFERS) == {offer.upstream for offer in CARDS.offers}
