"""The Gemini API's double: what it forbids, what it shows, and what it bills."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from adapters.gemini_omni import register_adapters
from adapters.gemini_omni._sandbox import KEY, GeminiOmniSandbox
from gateway.catalog.prices import cost, price_terms
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
    Stopped,
    Succeeded,
    Usage,
)

from .conftest import OMNI, Jobs, picture


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


@pytest.fixture(scope="module")
def world() -> Iterator[SandboxWorld]:
    with SandboxWorld(GeminiOmniSandbox(), build) as world:
        yield world


@pytest.fixture
def service(world: SandboxWorld) -> Iterator[httpx.Client]:
    world.succeed()
    with httpx.Client(base_url=world.url, headers={"x-goog-api-key": KEY}, timeout=30) as client:
        yield client


FORM = {
    "type": "video",
    "aspect_ratio": "16:9",
    "resolution": "360p",
    "duration": "3s",
    "delivery": "uri",
}
IMAGE = {"type": "image", "data": base64.b64encode(picture()).decode(), "mime_type": "image/png"}
TEXT = {"type": "text", "text": "a paper boat"}


def body(**given: Any) -> dict[str, Any]:
    whole = {
        "model": "gemini-omni-1.1-flash",
        "background": True,
        "input": [TEXT],
        "generation_config": {"video_config": {"task": "text_to_video"}},
        "response_format": FORM,
    }
    return {name: value for name, value in {**whole, **given}.items() if value is not None}


def task(name: str) -> dict[str, Any]:
    return {"video_config": {"task": name}}


FORBIDDEN: list[tuple[dict[str, Any], int, str]] = [
    ({"model": None}, 400, "model"),
    ({"model": "veo-3.1-generate-preview"}, 404, "veo-3.1"),
    ({"input": None}, 400, "input"),
    ({"input": [IMAGE]}, 400, "text prompt"),
    ({"input": [{"type": "video", "uri": "https://example.com/x.mp4"}]}, 400, "input"),
    ({"input": [TEXT, {**IMAGE, "data": "no"}]}, 400, "base64"),
    ({"input": [TEXT, {**IMAGE, "mime_type": "image/gif"}]}, 400, "mime_type"),
    ({"input": [TEXT, {**IMAGE, "mime_type": "image/jpeg"}]}, 400, "not image/jpeg"),
    ({"input": [TEXT, IMAGE]}, 400, "does not take 1"),
    ({"input": [TEXT], "generation_config": task("image_to_video")}, 400, "does not take 0"),
    ({"input": [TEXT, *[IMAGE] * 3], "generation_config": task("image_to_video")}, 400, "does not take 3"),
    ({"input": [TEXT, *[IMAGE] * 11], "generation_config": task("reference_to_video")}, 400, "11"),
    ({"generation_config": task("dance")}, 400, "task"),
    ({"generation_config": {"seed": 7}}, 400, "seed"),
    ({"response_format": {**FORM, "duration": 3}}, 400, "duration"),
    ({"response_format": {**FORM, "duration": "3"}}, 400, "duration"),
    ({"response_format": {**FORM, "duration": "2.9s"}}, 400, "duration"),
    ({"response_format": {**FORM, "duration": "11s"}}, 400, "duration"),
    ({"response_format": {**FORM, "aspect_ratio": "1:1"}}, 400, "aspect_ratio"),
    ({"response_format": {**FORM, "resolution": "480p"}}, 400, "resolution"),
    ({"response_format": {**FORM, "fps": 24}}, 400, "fps"),
    ({"negative_prompt": "rain"}, 400, "negative_prompt"),
    ({"background": "true"}, 400, "background"),
]


@pytest.mark.parametrize(("changed", "status", "about"), FORBIDDEN)
def test_a_body_that_the_specification_forbids_is_refused(
    world: SandboxWorld, service: httpx.Client, changed: dict[str, Any], status: int, about: str
) -> None:
    before = world.created()
    answer = service.post("/v1beta/interactions", json=body(**changed))
    assert answer.status_code == status
    assert about in answer.json()["error"]["message"]
    assert world.created() == before


def test_what_is_no_json_is_refused(service: httpx.Client) -> None:
    answer = service.post("/v1/interactions", content=b"{")
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("key", "status", "word"),
    [("AIzaWrong", 400, "INVALID_ARGUMENT"), (None, 403, "PERMISSION_DENIED")],
)
def test_a_wrong_key_is_a_bad_argument_and_none_is_forbidden(
    world: SandboxWorld, key: str | None, status: int, word: str
) -> None:
    headers = {"x-goog-api-key": key} if key else {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{world.url}/v1beta/interactions", json=body(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, word)
    if key:
        assert answer.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    "sent",
    [
        "a paper boat",
        [TEXT],
        [{"type": "user_input", "content": [TEXT]}],
    ],
)
def test_all_forms_of_input_are_taken(service: httpx.Client, sent: Any) -> None:
    for prefix in ("/v1", "/v1beta"):
        shown = service.post(f"{prefix}/interactions", json=body(input=sent)).json()
        assert shown["id"].startswith("v1_")
        assert (shown["object"], shown["model"]) == ("interaction", "gemini-omni-1.1-flash")


def test_a_clip_lies_behind_the_key(world: SandboxWorld, service: httpx.Client) -> None:
    id = service.post("/v1beta/interactions", json=body()).json()["id"]
    shown = service.get(f"/v1beta/interactions/{id}?stream=false").json()
    assert shown["status"] == "completed"
    (part,) = shown["steps"][-1]["content"]
    assert part["uri"].startswith(f"{world.url}/v1beta/files/")
    assert service.get(part["uri"]).content[4:8] == b"ftyp"
    assert httpx.get(part["uri"]).status_code == 403
    name = part["uri"].rpartition("/")[2].partition(":")[0]
    assert service.get(f"/v1beta/files/{name}").json()["state"] == "ACTIVE"
    assert shown["usage"]["output_tokens_by_modality"] == [{"modality": "video", "tokens": 17376}]


def test_a_clip_inside_the_answer(service: httpx.Client) -> None:
    made = service.post("/v1beta/interactions", json=body(response_format={**FORM, "delivery": "inline"}))
    shown = service.get(f"/v1beta/interactions/{made.json()['id']}").json()
    assert base64.b64decode(shown["steps"][-1]["content"][0]["data"])[4:8] == b"ftyp"


def test_an_unknown_id_is_a_bad_request(service: httpx.Client) -> None:
    answer = service.get("/v1beta/interactions/v1_0")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Invalid interaction name.")


async def test_only_what_is_under_way_can_be_cancelled(world: SandboxWorld, job: Jobs) -> None:
    adapter = world.adapter()
    world.hold()
    held = await adapter.submit(job(size="640x360", seconds="3"))
    assert await adapter.cancel(held) is True
    assert await adapter.poll(held) == Stopped()
    world.succeed()
    done = await adapter.submit(job(size="640x360", seconds="3"))
    assert await adapter.cancel(done) is False
    assert isinstance(await adapter.poll(done), Succeeded)
    await adapter.aclose()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limited=absent", RateLimited),
        ("out_of_credit", OutOfCredit),
        ("content_refused", ContentBlocked),
        ("model_gone", ModelGone),
        ("server_error_burst=1", OutcomeUnknown),
    ],
)
async def test_the_adapter_understands_what_the_double_refuses(
    world: SandboxWorld, job: Jobs, fault: str, error: type[ProviderError]
) -> None:
    world.succeed()
    adapter, before = world.adapter(), world.created()
    world.order(fault, times=1)
    with pytest.raises(ProviderError) as caught:
        await adapter.submit(job(size="640x360", seconds="3"))
    assert type(caught.value) is error
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 13
    assert world.created() == before
    await adapter.aclose()


async def test_the_adapter_understands_how_a_job_ends(world: SandboxWorld, job: Jobs) -> None:
    world.succeed()
    adapter = world.adapter()
    world.order("content_refused_late", times=1)
    blocked = await adapter.poll(await adapter.submit(job(size="640x360", seconds="3")))
    assert isinstance(blocked, Failed)
    assert (blocked.code, blocked.user_fault) == ("content_blocked", True)
    world.order("unknown_status", times=1)
    ticket = await adapter.submit(job("first_frame", "last_frame", size="360x640", seconds="3"))
    assert isinstance(await adapter.poll(ticket), Running)
    assert isinstance(await adapter.poll(ticket), Succeeded)
    await adapter.aclose()


@pytest.mark.parametrize("seconds", ["3", "6", "10"])
async def test_what_is_settled_is_the_bill_and_the_plan_is_hardly_above_it(
    world: SandboxWorld, job: Jobs, seconds: str
) -> None:
    world.succeed()
    adapter = world.adapter()
    ordered = job(seconds=seconds)
    done = await adapter.poll(await adapter.submit(ordered))
    await adapter.aclose()
    assert isinstance(done, Succeeded)
    card = next(card for card in load_cards("adapters.gemini_omni").models if card.id == OMNI.model)
    day = date(2026, 11, 26)
    terms = price_terms(card, OMNI, ordered.preset, ordered.output, "text-to-video", day, None)
    billed = world.bill()[-1].usd
    assert cost(terms, ordered.output, done.usage) == billed
    # the card's divisor has to be a whole number
    assert billed <= cost(terms, ordered.output, Usage()) < billed * Decimal("1.0003")
