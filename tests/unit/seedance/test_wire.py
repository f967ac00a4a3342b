"""What leaves for Ark, byte for byte, and what its answers mean."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from adapters.seedance._adapter import Seedance
from adapters.seedance._prompt import without_flags
from adapters.seedance._settings import Account, SeedanceOptions, SeedanceSettings
from gateway.spec import (
    BadRequest,
    Cards,
    ContentBlocked,
    Continues,
    Failed,
    InputImage,
    Job,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    Queued,
    RateLimited,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)

from .conftest import KEY, Builds

BYTEPLUS = "https://ark.ap-southeast.bytepluses.com/api/v3/contents/generations/tasks"
VOLCENGINE = "https://ark.cn-beijing.volces.com/api/v3/contents/generations/tasks"
ID = "cgt-20261120100000-abcde"
TEXT = {"type": "text", "text": "a red fox runs through snow"}
ONE_FIVE: dict[str, Any] = {
    "model": "seedance-1-5-pro-251215",
    "content": [TEXT],
    "resolution": "720p",
    "ratio": "16:9",
    "duration": 5,
    "seed": 7,
    "watermark": False,
    "generate_audio": False,
    "service_tier": "default",
    "safety_identifier": "att_42",
}


def without(body: dict[str, Any], *names: str, **changed: Any) -> dict[str, Any]:
    return {name: value for name, value in (body | changed).items() if name not in names}


async def sent(adapter: Seedance, job: Job, url: str = BYTEPLUS) -> dict[str, Any]:
    """The body that a submit of this job sends."""
    with respx.mock:
        route = respx.post(url).respond(json={"id": ID})
        await adapter.submit(job)
    body: dict[str, Any] = json.loads(route.calls.last.request.content)
    return body


def image(url: str, role: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, "role": role}


@pytest.mark.parametrize(
    ("offer", "given", "body"),
    [
        ("seedance-1.5-pro", {}, ONE_FIVE),
        ("seedance-1.5-pro", {"audio": True}, ONE_FIVE | {"generate_audio": True}),
        ("seedance-1.5-pro", {"seed": None}, without(ONE_FIVE, "seed")),
        ("seedance-1.5-pro", {"preset": "flex"}, ONE_FIVE | {"service_tier": "flex"}),
        ("seedance-1.5-pro", {"size": "496x864"}, ONE_FIVE | {"resolution": "480p", "ratio": "9:16"}),
        ("seedance-1.5-pro", {"size": "2206x946"}, ONE_FIVE | {"resolution": "1080p", "ratio": "21:9"}),
        ("seedance-1.5-pro", {"preset": "draft"}, ONE_FIVE | {"resolution": "480p", "draft": True}),
        (
            "seedance-1.5-pro",
            {"options": {"camera_fixed": True, "watermark": True, "return_last_frame": True}},
            ONE_FIVE | {"camera_fixed": True, "watermark": True, "return_last_frame": True},
        ),
        (
            "seedance-1.5-pro",
            {"preset": "draft", "options": {"return_last_frame": True}},
            ONE_FIVE | {"resolution": "480p", "draft": True},
        ),
        (
            "seedance-1.5-pro",
            {"callback_url": "https://gateway.example/hooks/seedance/t0k"},
            ONE_FIVE | {"callback_url": "https://gateway.example/hooks/seedance/t0k"},
        ),
        (
            "seedance-1.5-pro",
            {"request": {"deadline": 60}},
            ONE_FIVE | {"execution_expires_after": 3600},
        ),
        (
            "seedance-1.5-pro",
            {"request": {"deadline": 500_000}},
            ONE_FIVE | {"execution_expires_after": 259_200},
        ),
        (
            "seedance-1.0-pro",
            {"size": "1248x1664"},
            without(
                ONE_FIVE,
                "generate_audio",
                model="seedance-1-0-pro-250528",
                resolution="1080p",
                ratio="3:4",
            ),
        ),
        (
            "seedance-1.0-lite-t2v",
            {"size": "640x640"},
            without(
                ONE_FIVE,
                "generate_audio",
                model="seedance-1-0-lite-t2v-250428",
                resolution="480p",
                ratio="1:1",
            ),
        ),
        (
            "seedance-2.0",
            {"size": "3840x2160", "audio": True},
            without(
                ONE_FIVE,
                "service_tier",
                model="dreamina-seedance-2-0-260128",
                resolution="4k",
                generate_audio=True,
            ),
        ),
        (
            "seedance-2.5",
            {"size": "854x480", "seconds": "30"},
            without(
                ONE_FIVE,
                "service_tier",
                model="dreamina-seedance-2-5-260628",
                resolution="480p",
                duration=30,
            ),
        ),
    ],
)
async def test_what_is_ordered_from_text(
    adapter: Seedance, job: Builds, offer: str, given: dict[str, Any], body: dict[str, Any]
) -> None:
    assert await sent(adapter, job(offer, **given)) == body


@pytest.mark.parametrize(
    ("offer", "roles", "wire", "ratio"),
    [
        ("seedance-1.5-pro", ["first_frame"], ["first_frame"], "16:9"),
        ("seedance-1.5-pro", ["first_frame", "last_frame"], ["first_frame", "last_frame"], "16:9"),
        ("seedance-1.0-lite-i2v", ["reference"] * 4, ["reference_image"] * 4, "16:9"),
        ("seedance-2.5", ["first_frame"], ["first_frame"], None),
        ("seedance-2.5", ["first_frame", "last_frame"], ["first_frame", "last_frame"], None),
        ("seedance-2.5", ["reference"], ["reference_image"], "16:9"),
    ],
)
async def test_what_is_ordered_from_images(
    adapter: Seedance,
    job: Builds,
    data_url: str,
    offer: str,
    roles: list[str],
    wire: list[str],
    ratio: str | None,
) -> None:
    body = await sent(adapter, job(offer, images=roles))
    assert body["content"] == [TEXT, *(image(data_url, role) for role in wire)]
    assert body.get("ratio") == ratio


async def test_more_than_a_request_may_have_is_not_sent(adapter: Seedance, job: Builds) -> None:
    ordered = job("seedance-2.0", images=["reference"] * 2)
    for size, fits in ((23_000_000, True), (24_000_000, False)):
        images = tuple(image.model_copy(update={"bytes": size}) for image in ordered.request.images)
        given = replace(ordered, request=ordered.request.model_copy(update={"images": images}))
        if fits:
            await sent(adapter, given)
        else:
            with respx.mock, pytest.raises(Unsupported, match="64 MB"):
                await adapter.submit(given)


@pytest.mark.parametrize(
    ("offer", "roles"),
    [("seedance-2.0", []), ("seedance-2.5", ["first_frame"]), ("seedance-1.0-lite-i2v", ["reference"])],
)
async def test_a_camera_that_cannot_be_held_is_left_to_another_model(
    adapter: Seedance, job: Builds, offer: str, roles: list[str]
) -> None:
    with respx.mock, pytest.raises(Unsupported, match="camera_fixed"):
        await adapter.submit(job(offer, images=roles, options={"camera_fixed": False}))


async def test_images_are_read_beside_the_loop_that_all_looks_share(adapter: Seedance, job: Builds) -> None:
    ordered, threads = job("seedance-1.5-pro", images=["first_frame"]), set[int]()

    def read(image: InputImage) -> bytes:
        threads.add(threading.get_ident())
        return ordered.read_image(image)

    await sent(adapter, replace(ordered, read_image=read))
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("roles", [["last_frame"], ["first_frame", "reference"], ["last_frame", "reference"]])
async def test_parts_that_do_not_go_together_are_not_sent(
    adapter: Seedance, job: Builds, roles: list[str]
) -> None:
    with respx.mock, pytest.raises(Unsupported):
        await adapter.submit(job("seedance-2.0", images=roles))


async def test_every_size_of_the_cards_has_a_name_of_its_own(
    adapter: Seedance, job: Builds, cards: Cards
) -> None:
    for card in cards.models:
        named = []
        for resolution, sizes in dict(card.sizes).items():
            for size in sizes:
                offer = "seedance-1.0-lite-t2v" if card.id.endswith("lite") else card.id
                body = await sent(adapter, job(offer, size=size))
                assert body["resolution"] == resolution, size
                named.append((resolution, body["ratio"]))
        assert len(named) == len(set(named)), card.id


async def test_headers_and_the_host_of_each_region(adapter: Seedance, job: Builds) -> None:
    with respx.mock:
        route = respx.post(BYTEPLUS).respond(json={"id": ID, "safety_identifier": "att_42"})
        ticket = await adapter.submit(job("seedance-1.5-pro"))
    headers = route.calls.last.request.headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-client-request-id"] == "att_42"
    assert headers["content-type"] == "application/json"
    assert (ticket.id, ticket.data["account"]) == (ID, "default")
    assert adapter.download_headers(ticket) == {}

    with respx.mock:
        route = respx.post(VOLCENGINE).respond(json={"id": ID})
        ticket = await adapter.submit(job("seedance-1.5-pro/cn-beijing", account="china"))
    assert json.loads(route.calls.last.request.content)["model"] == "doubao-seedance-1-5-pro-251215"
    assert route.calls.last.request.headers["authorization"] == "Bearer ark-canary-china-5"
    assert ticket.data["account"] == "china"


async def test_an_account_has_the_offers_of_its_region(adapter: Seedance, job: Builds) -> None:
    here, there = (job(f"seedance-1.5-pro{region}").offer for region in ("", "/cn-beijing"))
    able = [
        [name for name in ("default", "china", "gone") if adapter.serves(offer, name)]
        for offer in (here, there, here.model_copy(update={"region": None}))
    ]
    assert able == [["default"], ["china"], ["default", "china"]]
    with respx.mock, pytest.raises(Unsupported, match="of another region than") as caught:
        await adapter.submit(job("seedance-1.5-pro/cn-beijing", account="default"))
    assert "is in ap-southeast, not in cn-beijing" in caught.value.operator_detail
    with respx.mock, pytest.raises(NotAuthorised, match="was not asked"):
        await adapter.submit(job("seedance-1.5-pro", account="gone"))


@pytest.mark.parametrize(
    ("prompt", "left", "removed"),
    [
        ("a fox --resolution 1080p", "a fox", "--resolution 1080p"),
        ("a fox --rs 4k --dur 12 in\nsnow", "a fox in\nsnow", "--rs 4k, --dur 12"),
        ("--noaudio --seed=7 a fox", "a fox", "--noaudio, --seed=7"),
        ("a fox ---duration 12", "a fox", "---duration 12"),
        ("a fox --fresh-flag on and on", "a fox and on", "--fresh-flag on"),
        ("a fox - --x y -resolution 4k", "a fox - -resolution 4k", "--x y"),
        ("a red--bright red--fox -- in snow", "a red—bright red—fox -- in snow", None),
        ("snow(--resolution 4k)", "snow(—resolution 4k)", None),
    ],
)
async def test_flags_in_a_prompt_are_removed_and_told(
    adapter: Seedance, job: Builds, prompt: str, left: str, removed: str | None
) -> None:
    with respx.mock:
        route = respx.post(BYTEPLUS).respond(json={"id": ID})
        ticket = await adapter.submit(job("seedance-1.0-pro", prompt=prompt))
    assert json.loads(route.calls.last.request.content)["content"] == [{"type": "text", "text": left}]
    done = await poll(adapter, SUCCEEDED, ticket)
    assert isinstance(done, Succeeded)
    notes = [note.detail for note in done.notes if note.code == "prompt_flags_removed"]
    assert [note.endswith(f": {removed}") for note in notes] == ([True] if removed else [])


def test_a_prompt_of_hyphens_takes_no_time() -> None:
    hyphens = "-" * 32_000
    begun = time.process_time()
    assert without_flags(hyphens) == (hyphens, ())
    assert time.process_time() - begun < 1  # tried from every hyphen it took a minute


async def test_a_prompt_of_flags_only_leaves_nothing_to_make(adapter: Seedance, job: Builds) -> None:
    with respx.mock, pytest.raises(BadRequest, match="prompt"):
        await adapter.submit(job("seedance-1.0-pro", prompt="--resolution 1080p"))
    body = await sent(adapter, job("seedance-1.0-pro", prompt="--rs 480p", images=["first_frame"]))
    assert [item["type"] for item in body["content"]] == ["image_url"]


async def test_a_draft_is_finished_by_its_id(adapter: Seedance, job: Builds, continues: Continues) -> None:
    draft = Ticket(id="cgt-draft", data={"account": "default"})
    final = job(
        "seedance-1.5-pro",
        size="1920x1080",
        audio=True,
        request={"continues": continues},
        read_checkpoint=lambda: draft.model_dump_json().encode(),
    )
    assert await sent(adapter, final) == {
        "model": "seedance-1-5-pro-251215",
        "content": [{"type": "draft_task", "draft_task": {"id": "cgt-draft"}}],
        "resolution": "1080p",
        "watermark": False,
        "service_tier": "default",
        "safety_identifier": "att_42",
    }


@pytest.mark.parametrize(
    "state", [b"torch state", Ticket(id="cgt-draft", data={"account": "china"}).model_dump_json().encode()]
)
async def test_what_cannot_be_finished_is_not_sent(
    adapter: Seedance, job: Builds, continues: Continues, state: bytes
) -> None:
    final = job("seedance-1.5-pro", request={"continues": continues}, read_checkpoint=lambda: state)
    with respx.mock, pytest.raises(Unsupported):
        await adapter.submit(final)


async def test_a_draft_that_is_gone_is_made_from_the_beginning(
    adapter: Seedance, job: Builds, continues: Continues
) -> None:
    final = job("seedance-1.5-pro", request={"continues": continues}, read_checkpoint=lambda: None)
    assert await sent(adapter, final) == ONE_FIVE
    with respx.mock:
        respx.post(BYTEPLUS).respond(json={"id": ID})
        done = await poll(adapter, SUCCEEDED, await adapter.submit(final))
    assert isinstance(done, Succeeded)
    assert [note.code for note in done.notes] == ["restarted"]


def refusal(code: str, message: str = "it says no. Request id: 0217") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "param": "", "type": "BadRequest"}}


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "MissingParameter", BadRequest),
        (400, "InvalidParameter", BadRequest),
        (400, "InvalidParameter.TaskTypeConstraint", BadRequest),
        (400, "InvalidEndpoint.ClosedEndpoint", ModelGone),
        (400, "SensitiveContentDetected", ContentBlocked),
        (400, "SensitiveContentDetected.SevereViolation", ContentBlocked),
        (400, "InputTextSensitiveContentDetected", ContentBlocked),
        (400, "InputImageSensitiveContentDetected.PrivacyInformation", ContentBlocked),
        (400, "InputVideoSensitiveContentDetected", ContentBlocked),
        (400, "InputAudioSensitiveContentDetected", ContentBlocked),
        (400, "OutputTextSensitiveContentDetected", ContentBlocked),
        (400, "OutputImageSensitiveContentDetected", ContentBlocked),
        (400, "OutputVideoSensitiveContentDetected", ContentBlocked),
        (400, "OutputAudioSensitiveContentDetected", ContentBlocked),
        (400, "InputTextRiskDetection", ContentBlocked),
        (401, "AuthenticationError", NotAuthorised),
        (401, "InvalidAccountStatus", NotAuthorised),
        (403, "AccessDenied", NotAuthorised),
        (403, "OperationDenied.PermissionDenied", NotAuthorised),
        (403, "AccountOverdueError", OutOfCredit),
        (403, "OperationDenied.ServiceOverdue", OutOfCredit),
        (403, "OperationDenied.ServiceNotOpen", OutOfCredit),
        (404, "InvalidEndpoint.NotFound", ModelGone),
        (404, "InvalidEndpointOrModel.NotFound", ModelGone),
        (404, "ModelNotOpen", Unsupported),
        (429, "RateLimitExceeded.EndpointRPMExceeded", RateLimited),
        (429, "RateLimitExceeded.EndpointTPMExceeded", RateLimited),
        (429, "ModelAccountRpmRateLimitExceeded", RateLimited),
        (429, "ModelAccountTpmRateLimitExceeded", RateLimited),
        (429, "ModelAccountIpmRateLimitExceeded", RateLimited),
        (429, "APIAccountRpmRateLimitExceeded", RateLimited),
        (429, "AccountRateLimitExceeded", RateLimited),
        (429, "RequestBurstTooFast", RateLimited),
        (429, "InflightBatchsizeExceeded", RateLimited),
        (429, "ServerOverloaded", Unavailable),
        (429, "ModelLoadingError", Unavailable),
        (429, "QuotaExceeded", OutOfCredit),
        (429, "SetLimitExceeded", OutOfCredit),
        (500, "InternalServiceError", OutcomeUnknown),
        (400, "InternalServiceError", OutcomeUnknown),
        (408, "RateLimitExceeded.EndpointRPMExceeded", OutcomeUnknown),
        (499, "InvalidParameter", OutcomeUnknown),
        (500, "ContentSecurityDetectionError", OutcomeUnknown),
        (503, "ServerOverloaded", OutcomeUnknown),
        (400, "AFreshCode", BadRequest),
        (429, "AFreshCode", RateLimited),
    ],
)
async def test_what_a_refused_create_means(
    adapter: Seedance, job: Builds, status: int, code: str, error: type[ProviderError]
) -> None:
    with respx.mock:
        respx.post(BYTEPLUS).respond(status, json=refusal(code), headers={"retry-after": "3"})
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(job("seedance-1.5-pro"))
    assert type(caught.value) is error
    assert KEY not in caught.value.operator_detail
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [(400, "InvalidParameter", True), (429, "SetLimitExceeded", False), (403, "AccountOverdueError", False)],
)
async def test_callers_are_told_of_their_input_and_not_of_our_account(
    adapter: Seedance, job: Builds, status: int, code: str, shown: bool
) -> None:
    with respx.mock:
        respx.post(BYTEPLUS).respond(status, json=refusal(code, "it says no to account 4711"))
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(job("seedance-1.5-pro"))
    assert ("4711" in caught.value.caller_detail) == shown
    assert "4711" in caught.value.operator_detail


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, json={}), UnexpectedReply),
        (httpx.Response(200, json={"id": "../cgt"}), UnexpectedReply),
        (httpx.Response(200, html="<html>"), UnexpectedReply),
        (httpx.Response(502, html="<html>"), OutcomeUnknown),
        (httpx.Response(401, html="<html>"), NotAuthorised),
        (httpx.ReadTimeout, OutcomeUnknown),
        (httpx.ConnectError, Unavailable),
    ],
)
async def test_a_create_that_went_wrong_is_never_sent_again(
    adapter: Seedance, job: Builds, answer: Any, error: type[ProviderError]
) -> None:
    with respx.mock:
        route = respx.post(BYTEPLUS).mock(side_effect=[answer])
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(job("seedance-1.5-pro"))
    assert type(caught.value) is error
    assert route.call_count == 1


SUCCEEDED: dict[str, Any] = {
    "id": ID,
    "model": "seedance-1-5-pro-251215",
    "status": "succeeded",
    "error": None,
    "content": {"video_url": "https://tos.example/clip.mp4?sig=1"},
    "usage": {"completion_tokens": 108_900, "total_tokens": 108_900},
    "created_at": 1_763_600_000,
    "seed": 7,
    "something_new": {"of": "tomorrow"},
}
TICKET = Ticket(id=ID, data={"account": "default"})


async def poll(adapter: Seedance, task: dict[str, Any], ticket: Ticket = TICKET) -> Snapshot:
    with respx.mock:
        respx.get(f"{BYTEPLUS}/{ticket.id}").respond(json=task)
        return await adapter.poll(ticket)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", Queued),
        ("running", Running),
        ("a_word_of_tomorrow", Running),
        (None, Running),
        ("cancelled", Stopped),
        ("canceled", Stopped),
        ("expired", Failed),
        ("failed", Failed),
        ("succeeded", Succeeded),
    ],
)
async def test_status_words(adapter: Seedance, status: str | None, state: type) -> None:
    seen = await poll(adapter, SUCCEEDED | {"status": status})
    assert type(seen) is state
    assert not getattr(seen, "billed", False)


async def test_a_success_says_what_is_billed_and_which_seed_was_drawn(adapter: Seedance) -> None:
    seen = await poll(adapter, SUCCEEDED)
    assert isinstance(seen, Succeeded)
    assert seen.url == "https://tos.example/clip.mp4?sig=1"
    assert (seen.usage.tokens, seen.usage.seconds, seen.notes) == (108_900, None, ())

    drawn = Ticket(id=ID, data={"account": "default", "draws_seed": True})
    frame = {"content": {"video_url": "https://a.example/v", "last_frame_url": "https://a.example/f.png?s"}}
    seen = await poll(adapter, SUCCEEDED | frame, drawn)
    assert isinstance(seen, Succeeded)
    assert [note.code for note in seen.notes] == ["seed_used", "last_frame"]
    assert "7" in seen.notes[0].detail
    assert "https://a.example/f.png?s" in seen.notes[1].detail


@pytest.mark.parametrize(
    ("error", "code", "user_fault"),
    [
        ({"code": "OutputVideoSensitiveContentDetected", "message": "no"}, "content_blocked", True),
        ({"code": "InputImageSensitiveContentDetected.PrivacyInformation"}, "content_blocked", True),
        ({"code": "InvalidParameter", "message": "no"}, "bad_request", True),
        ({"code": "InternalServiceError", "message": "no"}, "gave_up", False),
        ({"code": "AccountOverdueError", "message": "no"}, "gave_up", False),
        ({"code": "AFreshCode", "message": "no"}, "gave_up", False),
        ({"code": 500, "message": 7}, "gave_up", False),
        ({}, "gave_up", False),
        (None, "gave_up", False),
    ],
)
async def test_a_failed_task_says_whose_doing_it_was(
    adapter: Seedance, error: dict[str, Any] | None, code: str, user_fault: bool
) -> None:
    seen = await poll(adapter, {"id": ID, "status": "failed", "error": error})
    assert isinstance(seen, Failed)
    assert (seen.code, seen.user_fault, seen.billed) == (code, user_fault, False)
    assert "nothing is billed" in seen.message
    assert ("Another seed" in seen.message) == (error is not None and "Output" in str(error.get("code")))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, json=SUCCEEDED | {"content": None}), UnexpectedReply),
        (httpx.Response(200, json=SUCCEEDED | {"status": ["queued"]}), UnexpectedReply),
        (httpx.Response(404, json=refusal("ResourceNotFound")), UnexpectedReply),
        (httpx.Response(401, json=refusal("AuthenticationError")), NotAuthorised),
        (httpx.Response(500, json=refusal("InternalServiceError")), Unavailable),
        (httpx.Response(429, json=refusal("AccountRateLimitExceeded")), RateLimited),
        (httpx.ReadTimeout, Unavailable),
    ],
)
async def test_a_look_that_failed(adapter: Seedance, answer: Any, error: type[ProviderError]) -> None:
    with respx.mock:
        respx.get(f"{BYTEPLUS}/{ID}").mock(side_effect=[answer])
        with pytest.raises(ProviderError) as caught:
            await adapter.poll(TICKET)
    assert type(caught.value) is error


async def test_a_job_of_an_account_that_was_removed_waits_for_it(adapter: Seedance) -> None:
    with respx.mock, pytest.raises(Unavailable) as caught:
        await adapter.poll(Ticket(id=ID, data={"account": "gone"}))
    assert "accounts.gone" in caught.value.operator_detail


async def test_many_are_looked_at_by_the_list(adapter: Seedance) -> None:
    ids = [f"cgt-{number}" for number in range(60)]
    tickets = [Ticket(id=id, data={"account": "default"}) for id in ids]
    tickets.insert(1, Ticket(id="cgt-flex", data={"account": "default", "tier": "flex"}))
    tickets.append(Ticket(id="cgt-china", data={"account": "china"}))

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get_list("filter.task_ids")
        assert request.url.params["filter.service_tier"] == ("flex" if asked == ["cgt-flex"] else "default")
        assert request.url.params["page_num"] == "1"
        assert int(request.url.params["page_size"]) == len(asked) <= 50
        items = [{"id": id, "status": "running"} for id in reversed(asked) if id not in ("cgt-3", "cgt-4")]
        return httpx.Response(200, json={"items": items, "total": len(items)})

    with respx.mock:
        listed = respx.get(BYTEPLUS).mock(side_effect=answer)
        china = respx.get(VOLCENGINE).respond(500)
        respx.get(f"{BYTEPLUS}/cgt-3").respond(json={"id": "cgt-3", "status": "queued"})
        respx.get(f"{BYTEPLUS}/cgt-4").respond(404, json=refusal("ResourceNotFound"))
        seen = await adapter.poll_many(tickets)
    assert (listed.call_count, china.call_count) == (3, 1)
    kinds = dict(zip([ticket.id for ticket in tickets], [type(one) for one in seen], strict=True))
    assert kinds.pop("cgt-3") is Queued
    assert kinds.pop("cgt-4") is UnexpectedReply
    assert kinds.pop("cgt-china") is Unavailable
    assert set(kinds.values()) == {Running}


async def test_one_that_cannot_be_read_does_not_hide_the_others(adapter: Seedance, job: Builds) -> None:
    odd = {"id": "cgt-odd", "status": ["queued"], "safety_identifier": "att_7"}
    mine = SUCCEEDED | {"safety_identifier": "att_42"}
    with respx.mock:
        respx.get(BYTEPLUS).respond(json={"items": [odd, {"id": []}, {}, mine], "total": 4})
        seen = await adapter.poll_many([Ticket(id="cgt-odd", data=TICKET.data), TICKET])
        found = await adapter.lookup(job("seedance-1.5-pro"))
    assert [type(one) for one in seen] == [UnexpectedReply, Succeeded]
    assert found is not None
    assert found.id == ID


@pytest.mark.parametrize("status", ["running", "succeeded", "failed", "expired", "cancelled"])
async def test_only_what_waits_is_cancelled_since_delete_removes_results(
    adapter: Seedance, status: str
) -> None:
    with respx.mock:
        respx.get(f"{BYTEPLUS}/{ID}").respond(json=SUCCEEDED | {"status": status})
        assert await adapter.cancel(TICKET) is False  # a DELETE would find no route


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (409, False)])
async def test_cancelling_what_waits(adapter: Seedance, status: int, accepted: bool) -> None:
    with respx.mock:
        respx.get(f"{BYTEPLUS}/{ID}").respond(json={"id": ID, "status": "queued"})
        body = refusal("TaskRunningCannotCancel") if status == 409 else {}
        respx.delete(f"{BYTEPLUS}/{ID}").respond(status, json=body)
        assert await adapter.cancel(TICKET) is accepted


def page(*tags: str | None, total: int, start: int = 0) -> httpx.Response:
    items = [{"id": f"cgt-{start + n}", "safety_identifier": tag} for n, tag in enumerate(tags)]
    return httpx.Response(200, json={"items": items, "total": total})


async def test_a_lost_job_is_found_by_its_tag_on_any_page(adapter: Seedance, job: Builds) -> None:
    pages = [page(*["att_1", None] * 250, total=502), page("att_7", "att_42", total=502, start=500)]
    with respx.mock:
        route = respx.get(BYTEPLUS).mock(side_effect=pages)
        ticket = await adapter.lookup(job("seedance-1.5-pro", preset="flex", prompt="a fox --rs 4k"))
    assert ticket is not None
    assert (ticket.id, ticket.data["account"], ticket.data["tier"]) == ("cgt-501", "default", "flex")
    assert [note["code"] for note in ticket.data["notes"]] == ["prompt_flags_removed"]
    asked = [dict(call.request.url.params) for call in route.calls]
    assert asked == [
        {"page_num": number, "page_size": "500", "filter.service_tier": "flex"} for number in ("1", "2")
    ]


async def test_a_lost_job_is_found_without_its_images(adapter: Seedance, job: Builds) -> None:
    def gone(image: InputImage) -> bytes:
        raise AssertionError("what was sent is not read again")

    lost = replace(job("seedance-1.5-pro", images=["first_frame"]), read_image=gone)
    with respx.mock:
        respx.get(BYTEPLUS).mock(side_effect=[page("att_42", total=1)])
        found = await adapter.lookup(lost)
    assert found == adapter.ticket(lost, "cgt-0")


async def test_a_job_that_is_not_there_is_not_found(adapter: Seedance, job: Builds) -> None:
    with respx.mock:
        respx.get(BYTEPLUS).mock(side_effect=[page("att_1", None, total=2)])
        assert await adapter.lookup(job("seedance-1.5-pro")) is None


async def test_two_jobs_with_one_tag_are_for_a_person_to_tell_apart(adapter: Seedance, job: Builds) -> None:
    with respx.mock:
        respx.get(BYTEPLUS).mock(side_effect=[page("att_42", "att_42", total=2)])
        with pytest.raises(OutcomeUnknown) as caught:
            await adapter.lookup(job("seedance-1.5-pro"))
    assert "cgt-0, cgt-1" in caught.value.operator_detail


def test_a_callback_names_its_task_and_is_not_believed(adapter: Seedance) -> None:
    assert adapter.parse_webhook({}, json.dumps(SUCCEEDED).encode()) == [ID]
    for nonsense in (b"", b"[]", b"{}", b'{"id": 7}', b"\xff"):
        assert adapter.parse_webhook({}, nonsense) == []


def test_what_is_missing_is_named(
    adapter_with: Callable[..., Seedance], adapter: Seedance, job: Builds
) -> None:
    here, there = job("seedance-2.5").offer, job("seedance-2.5/cn-beijing").offer
    none, one = adapter_with(accounts={}), adapter_with(accounts={"default": {"api_key": KEY}})
    told = none.unready(here, "standard")
    assert told is not None
    assert told.code == "no_credentials"
    assert "REELGATE_PLUGINS__SEEDANCE__ACCOUNTS__DEFAULT__API_KEY" in told.detail
    assert none.accounts == ("default",)
    assert one.unready(here, "standard") is None
    told = one.unready(there, "standard")
    assert told is not None
    assert "cn-beijing" in told.detail
    assert adapter.unready(there, "standard") is None
    assert adapter.accounts == ("default", "china")


def test_drafts_of_2_5_are_off_until_the_operator_asks(
    adapter_with: Callable[..., Seedance], adapter: Seedance, job: Builds
) -> None:
    told = adapter.unready(job("seedance-2.5").offer, "draft")
    assert told is not None
    assert told.code == "drafts_unconfirmed"
    assert adapter.unready(job("seedance-1.5-pro").offer, "draft") is None
    assert adapter_with(unconfirmed_drafts=True).unready(job("seedance-2.5").offer, "draft") is None


def test_limits_are_the_operators_to_set(adapter_with: Callable[..., Seedance]) -> None:
    limited = {"api_key": KEY, "concurrent": 10, "submits_per_s": 5}
    made = adapter_with(accounts={"default": {"api_key": KEY}, "big": limited})
    assert made.limits("big").model_dump() == {"concurrent": 10, "submits_per_s": 5.0}
    assert made.limits("default").concurrent is None
    assert KEY not in repr(made._settings)


def test_every_setting_and_option_is_in_the_settings_page() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    section = text.partition("### seedance\n")[2].partition("\n### ")[0]
    for model in (Account, SeedanceSettings, SeedanceOptions):
        assert not [name for name in model.model_fields if f"`{name}`" not in section]
