"""OpenAI's and Azure's double: what they forbid, what they show, and what they bill."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapters.openai_videos import register_adapters
from adapters.openai_videos._sandbox import AZURE_KEY, OPENAI_KEY, OpenAIVideosSandbox
from gateway.catalog.prices import MissingPrice, cost, price_terms
from gateway.kit.cards import load_cards
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import (
    ContentBlocked,
    Failed,
    ModelGone,
    OutcomeUnknown,
    OutOfCredit,
    PluginContext,
    ProviderError,
    RateLimited,
    RemoteAdapter,
    Running,
    Succeeded,
    Usage,
)

from .conftest import OFFERS, SORA, Jobs, picture


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


@pytest.fixture(scope="module")
def world() -> Iterator[SandboxWorld]:
    with SandboxWorld(OpenAIVideosSandbox(), build) as world:
        yield world


@pytest.fixture
def service(world: SandboxWorld) -> Iterator[httpx.Client]:
    world.succeed()
    headers = {"Authorization": f"Bearer {OPENAI_KEY}"}
    with httpx.Client(base_url=f"{world.url}/v1", headers=headers, timeout=30) as client:
        yield client


GOOD = {"prompt": "a paper boat on a puddle", "model": "sora-2", "seconds": "4", "size": "1280x720"}

FORBIDDEN: list[tuple[dict[str, Any], str, str]] = [
    # what is changed, the code, the parameter
    ({"prompt": None}, "missing_required_parameter", "prompt"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": "x" * 32_001}, "invalid_value", "prompt"),
    ({"prompt": 7}, "invalid_type", "prompt"),
    ({"seconds": 4}, "invalid_value", "seconds"),
    ({"seconds": "5"}, "invalid_value", "seconds"),
    ({"size": "1024x1792"}, "invalid_value", "size"),
    ({"size": "832x480"}, "invalid_value", "size"),
    ({"seed": 7}, "unknown_parameter", "seed"),
    ({"fps": 24}, "unknown_parameter", "fps"),
    ({"n": 1}, "unknown_parameter", "n"),
    ({"model": "sora-3"}, "model_not_found", "model"),
    ({"input_reference": "data:image/png;base64,AA=="}, "invalid_value", "input_reference"),
    ({"input_reference": {}}, "invalid_value", "input_reference"),
    ({"input_reference": {"image_url": "data:image/png;base64,A"}}, "invalid_value", "input_reference"),
    ({"input_reference": {"image_url": "data:image/png;base64,é"}}, "invalid_value", "input_reference"),
    ({"input_reference": {"image_url": "data:image/gif;base64,AAAA"}}, "invalid_value", "input_reference"),
    ({"input_reference": {"image_url": "x", "file_id": "y"}}, "invalid_value", "input_reference"),
]


@pytest.mark.parametrize(("changed", "code", "param"), FORBIDDEN)
def test_a_body_that_the_specification_forbids_is_refused(
    world: SandboxWorld, service: httpx.Client, changed: dict[str, Any], code: str, param: str
) -> None:
    before = world.created()
    body = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    answer = service.post("/videos", json=body)
    assert answer.status_code == (404 if code == "model_not_found" else 400)
    error = answer.json()["error"]
    assert (error["code"], error["param"].split(".")[0]) == (code, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert world.created() == before


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (picture(1280, 721), "image/png", 400),
        (b"GIF89a", "image/gif", 400),
        (b"\x89PNG\r\n\x1a\n", "image/png", 400),
        (picture(1280, 720), "image/png", 200),
    ],
)
def test_an_image_must_have_the_clips_size(
    service: httpx.Client, data: bytes, kind: str, status: int
) -> None:
    file = {"input_reference": ("frame", data, kind)}
    answer = service.post("/videos", data=GOOD, files=file)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["param"] == "input_reference"


def test_an_image_may_come_as_a_data_url(service: httpx.Client) -> None:
    url = f"data:image/png;base64,{base64.b64encode(picture(1280, 720)).decode()}"
    assert service.post("/videos", json={**GOOD, "input_reference": {"image_url": url}}).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b"x", "text/plain", 415),
    ],
)
def test_what_is_no_body_is_refused(service: httpx.Client, content: bytes, kind: str, status: int) -> None:
    answer = service.post("/videos", content=content, headers={"content-type": kind})
    assert answer.status_code == status


def test_a_part_that_comes_twice_or_is_a_file_is_refused(service: httpx.Client) -> None:
    parts = [(name, (None, value)) for name, value in GOOD.items()]
    for more in (("prompt", (None, "x")), ("seconds", ("s.txt", b"4", "text/plain"))):
        assert service.post("/videos", files=[*parts, more]).status_code == 400


@pytest.mark.parametrize(
    "header", [{"Authorization": "Bearer sk-x"}, {"Authorization": ""}, {"api-key": "x"}]
)
def test_each_service_has_its_own_key_in_its_own_header(world: SandboxWorld, header: dict[str, str]) -> None:
    for prefix, right in (
        ("/v1", {"Authorization": f"Bearer {OPENAI_KEY}"}),
        ("/openai/v1", {"api-key": AZURE_KEY}),
    ):
        url = f"{world.url}{prefix}/videos"
        answer = httpx.get(url, headers=header)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.get(url, headers=right).status_code == 200


def test_a_job_goes_its_way_with_every_field_of_the_object(
    world: SandboxWorld, service: httpx.Client
) -> None:
    world.hold()
    answer = service.post("/videos", json={"prompt": "a boat"})
    shown = answer.json()
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-poll-after-ms"] == "2000"
    assert shown["id"].startswith("video_")
    assert shown["created_at"] == pytest.approx(time.time(), abs=5)
    assert {name: value for name, value in shown.items() if name not in ("id", "created_at")} == {
        "object": "video",
        "model": "sora-2",
        "status": "in_progress",
        "progress": 0,
        "completed_at": None,
        "expires_at": None,
        "prompt": "a boat",
        "size": "720x1280",
        "seconds": "4",
        "remixed_from_video_id": None,
        "error": None,
    }
    assert service.get(f"/videos/{shown['id']}/content").status_code == 400
    assert service.delete(f"/videos/{shown['id']}").status_code == 400
    world.succeed()
    done = service.get(f"/videos/{service.post('/videos', json=GOOD).json()['id']}").json()
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert done["expires_at"] == done["completed_at"] + 3600


def test_a_finished_job_can_be_deleted_and_is_then_unknown(service: httpx.Client) -> None:
    id = service.post("/videos", json=GOOD).json()["id"]
    assert service.get(f"/videos/{id}/content?variant=thumbnail").status_code == 400
    deleted = service.delete(f"/videos/{id}").json()
    assert deleted == {"id": id, "object": "video.deleted", "deleted": True}
    assert service.get(f"/videos/{id}").status_code == 404
    assert service.post(f"/videos/{id}/cancel").status_code in (404, 405)


def test_the_list_comes_in_pages(service: httpx.Client) -> None:
    ids = [service.post("/videos", json=GOOD).json()["id"] for _ in range(3)]
    page = service.get("/videos?limit=2").json()
    assert [one["id"] for one in page["data"]] == ids[:0:-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    after = service.get(f"/videos?limit=1&after={ids[1]}").json()
    assert [one["id"] for one in after["data"]] == [ids[0]]
    assert service.get("/videos?order=asc&limit=100").json()["data"][-1]["id"] == ids[2]
    for wrong in ("limit=101", "limit=x", "order=up", "after=video_0"):
        assert service.get(f"/videos?{wrong}").status_code == 400


SORA_ERRORS: list[tuple[str, type[ProviderError]]] = [
    ("rate_limited", RateLimited),
    ("out_of_credit", OutOfCredit),
    ("content_refused", ContentBlocked),
    ("model_gone", ModelGone),
    ("server_error_burst=1", OutcomeUnknown),
]


@pytest.mark.parametrize(("fault", "error"), SORA_ERRORS)
async def test_the_adapter_understands_what_the_double_refuses(
    world: SandboxWorld, job: Jobs, fault: str, error: type[ProviderError]
) -> None:
    world.succeed()
    adapter, before = world.adapter(), world.created()
    world.order(fault, times=1)
    with pytest.raises(ProviderError) as caught:
        await adapter.submit(job(seconds="4"))
    assert type(caught.value) is error
    assert world.created() == before
    await adapter.aclose()


async def test_the_adapter_understands_how_a_job_fails(world: SandboxWorld, job: Jobs) -> None:
    world.succeed()
    adapter = world.adapter()
    world.order("content_refused_late", times=1)
    blocked = await adapter.poll(await adapter.submit(job(seconds="4")))
    assert isinstance(blocked, Failed)
    assert (blocked.code, blocked.user_fault) == ("content_blocked", True)
    world.order("unknown_status", times=1)
    ticket = await adapter.submit(job(seconds="4"))
    assert isinstance(await adapter.poll(ticket), Running)
    assert isinstance(await adapter.poll(ticket), Succeeded)
    await adapter.aclose()


CARDS = load_cards("adapters.openai_videos")
WAYS = [
    (offer, resolution, size, seconds)
    for offer in OFFERS.values()
    for card in CARDS.models
    if card.id == offer.model
    for resolution, sizes in card.sizes.items()  # type: ignore[union-attr]  # these cards have named sets
    if resolution in (offer.limits.resolutions or card.sizes)
    for size, seconds in ((sizes[0], "4"), (sizes[1], "8"))
]


@pytest.mark.parametrize(("offer", "resolution", "size", "seconds"), WAYS)
async def test_the_plans_price_is_the_bill(
    world: SandboxWorld, job: Jobs, offer: Any, resolution: str, size: str, seconds: str
) -> None:
    world.hold()  # no clip is needed
    adapter = world.adapter()
    account = "azure" if offer.region == "azure" else "default"
    ordered = job(offer, size=size, seconds=seconds, account=account)
    await adapter.submit(ordered)
    await adapter.aclose()
    card = next(card for card in CARDS.models if card.id == offer.model)
    day = date(2026, 9, 1)
    try:
        terms = price_terms(card, offer, ordered.preset, ordered.output, "text-to-video", day, None)
        planned = cost(terms, ordered.output, Usage())
    except MissingPrice:  # a price that is too little known to be planned with is right all the same
        (price,) = (one for one in offer.prices if resolution in one.resolutions)
        assert price.source.confidence == "low"
        planned = price.usd * Decimal(seconds)
    assert world.bill()[-1].usd == planned


async def test_a_lost_job_is_adopted_and_an_older_twin_is_not(world: SandboxWorld, job: Jobs) -> None:
    world.succeed()
    adapter: Any = world.adapter()
    ordered = job(SORA, seconds="4", prompt="a lost boat")
    world.order("drop_after_accept", times=1)
    with pytest.raises(OutcomeUnknown):
        await adapter.submit(ordered)
    found = await adapter.lookup(ordered)
    assert found.id == world.bill()[-1].job_id
    later = ordered.planned_at.replace(year=ordered.planned_at.year + 1)
    assert await adapter.lookup(replace(ordered, planned_at=later)) is None
    await adapter.submit(ordered)
    with pytest.raises(OutcomeUnknown, match="2 jobs"):
        await adapter.lookup(ordered)
    await adapter.aclose()
