"""What leaves for the Gemini API, and what its answers mean."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx

from adapters.gemini_omni._adapter import GeminiOmni
from gateway.spec import (
    AccountLimits,
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    Queued,
    RateLimited,
    Running,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unsupported,
    Usage,
)

from .conftest import BASE, KEY, NOW, OFFERS, OMNI, Jobs, make, picture

TICKET = Ticket(id="v1_Ch", data={"account": "default"})
URI = f"{BASE}/files/abc-1:download?alt=media"


def at(ago_s: float) -> str:
    return (datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=ago_s)).isoformat().replace("+00:00", "Z")


def interaction(**given: Any) -> dict[str, Any]:
    return {
        "id": "v1_Ch",
        "object": "interaction",
        "status": "in_progress",
        "model": "gemini-omni-1.1-flash",
        "created": at(600),
        "updated": at(600),
        **given,
    }


def output(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "model_output", "content": list(parts)}


def used(tokens: int) -> dict[str, Any]:
    by_kind = [{"modality": "text", "tokens": 5}, {"modality": "video", "tokens": tokens}]
    return {
        "total_input_tokens": 12,
        "total_output_tokens": tokens + 5,
        "output_tokens_by_modality": by_kind,
    }


def video(uri: str = URI) -> dict[str, Any]:
    return {"type": "video", "mime_type": "video/mp4", "uri": uri}


@respx.mock
async def test_text_to_video_byte_for_byte(adapter: GeminiOmni, job: Jobs) -> None:
    route = respx.post(f"{BASE}/interactions").respond(json=interaction())
    assert await adapter.submit(job()) == TICKET
    request = route.calls.last.request
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.content == (
        b'{"model":"gemini-omni-1.1-flash","background":true,'
        b'"input":[{"type":"text","text":"a paper boat on a puddle"}],'
        b'"generation_config":{"video_config":{"task":"text_to_video"}},'
        b'"response_format":{"type":"video","aspect_ratio":"16:9","resolution":"720p",'
        b'"duration":"6s","delivery":"uri"}}'
    )
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("roles", "task"),
    [
        (("first_frame",), "image_to_video"),
        (("last_frame", "first_frame"), "image_to_video"),
        (("reference",), "reference_to_video"),
        (("reference", "reference", "reference"), "reference_to_video"),
    ],
)
@respx.mock
async def test_images_go_inside_the_request_with_their_task(
    adapter: GeminiOmni, job: Jobs, roles: tuple[str, ...], task: str
) -> None:
    route = respx.post(f"{BASE}/interactions").respond(json=interaction())
    await adapter.submit(job(*roles))
    sent = json.loads(route.calls.last.request.content)
    assert sent["generation_config"] == {"video_config": {"task": task}}
    data = base64.b64encode(picture()).decode()
    image = {"type": "image", "data": data, "mime_type": "image/png"}
    assert sent["input"] == [{"type": "text", "text": "a paper boat on a puddle"}, *[image] * len(roles)]


@respx.mock
async def test_the_first_frame_goes_before_the_last(adapter: GeminiOmni, job: Jobs) -> None:
    route = respx.post(f"{BASE}/interactions").respond(json=interaction())
    ordered = job("last_frame", "first_frame")
    pictures = {"last_frame": b"last", "first_frame": b"first"}
    object.__setattr__(ordered, "read_image", lambda image: pictures[image.role])
    await adapter.submit(ordered)
    sent = json.loads(route.calls.last.request.content)["input"][1:]
    assert [base64.b64decode(image["data"]) for image in sent] == [b"first", b"last"]


@respx.mock
async def test_a_jpeg_is_called_one(adapter: GeminiOmni, job: Jobs) -> None:
    route = respx.post(f"{BASE}/interactions").respond(json=interaction())
    await adapter.submit(job("first_frame", kind="JPEG"))
    assert json.loads(route.calls.last.request.content)["input"][1]["mime_type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("size", "seconds", "told"),
    [
        ("640x360", "3", ("16:9", "360p", "3s")),
        ("720x1280", "10.0", ("9:16", "720p", "10s")),
        ("1920x1080", "4.5", ("16:9", "1080p", "4.5s")),
        ("2160x3840", "7", ("9:16", "4k", "7s")),
    ],
)
@respx.mock
async def test_a_size_is_a_shape_and_a_resolution(
    adapter: GeminiOmni, job: Jobs, size: str, seconds: str, told: tuple[str, str, str]
) -> None:
    route = respx.post(f"{BASE}/interactions").respond(json=interaction())
    await adapter.submit(job(size=size, seconds=seconds))
    sent = json.loads(route.calls.last.request.content)["response_format"]
    assert (sent["aspect_ratio"], sent["resolution"], sent["duration"]) == told


@pytest.mark.parametrize("roles", [("last_frame",), ("first_frame", "reference")])
@respx.mock
async def test_images_that_it_cannot_be_told_of_are_refused_here(
    adapter: GeminiOmni, job: Jobs, roles: tuple[str, ...]
) -> None:
    with pytest.raises(Unsupported, match=roles[-1]):
        await adapter.submit(job(*roles))
    assert not respx.calls


def word(code: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def status(name: str, message: str = "no", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 1, "message": message, "status": name, "details": list(details)}}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_DAY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}
PER_MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
CHECK = "You exceeded your current quota, please check your plan and billing details."
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}

REFUSALS: list[tuple[int, Any, type[ProviderError]]] = [
    (400, word("invalid_request"), BadRequest),
    (400, status("INVALID_ARGUMENT"), BadRequest),
    (400, [status("INVALID_ARGUMENT")], BadRequest),
    (400, status("INVALID_ARGUMENT", f"API key not valid: {KEY}", BAD_KEY), NotAuthorised),
    (400, [status("INVALID_ARGUMENT", "no", BAD_KEY)], NotAuthorised),
    (400, status("FAILED_PRECONDITION", "Enable billing first."), OutOfCredit),
    (400, status("FAILED_PRECONDITION", "User location is not supported."), Unsupported),
    (400, word("SAFETY"), ContentBlocked),
    (400, status("PROHIBITED_CONTENT"), ContentBlocked),
    (400, status("INVALID_ARGUMENT", "stopped: BLOCKLIST"), ContentBlocked),
    (400, status("INVALID_ARGUMENT", "The prompt was blocked by our usage policy."), ContentBlocked),
    (400, status("INVALID_ARGUMENT", "Blocked for safety."), ContentBlocked),
    (400, status("INVALID_ARGUMENT", "This model is no longer available."), ModelGone),
    (401, status("UNAUTHENTICATED"), NotAuthorised),
    (403, status("PERMISSION_DENIED"), NotAuthorised),
    (404, status("NOT_FOUND", "models/x is no longer available."), ModelGone),
    (408, {}, OutcomeUnknown),
    (413, {}, BadRequest),
    (429, status("RESOURCE_EXHAUSTED", "slow down", WAIT), RateLimited),
    (429, status("RESOURCE_EXHAUSTED", "slow down", PER_DAY), OutOfCredit),
    (429, status("RESOURCE_EXHAUSTED", CHECK, PER_MINUTE, WAIT), RateLimited),
    (429, status("RESOURCE_EXHAUSTED", CHECK, PER_MINUTE, PER_DAY), OutOfCredit),
    (429, status("RESOURCE_EXHAUSTED", CHECK), OutOfCredit),
    (429, status("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."), OutOfCredit),
    (429, status("RESOURCE_EXHAUSTED", "You exceeded your monthly spend cap."), OutOfCredit),
    (499, status("CANCELLED"), OutcomeUnknown),
    (500, status("INTERNAL"), OutcomeUnknown),
    (503, status("UNAVAILABLE"), OutcomeUnknown),
    (504, word("gateway_timeout"), OutcomeUnknown),
]


@pytest.mark.parametrize(("http", "body", "error"), REFUSALS)
@respx.mock
async def test_every_documented_refusal_has_its_class(
    adapter: GeminiOmni, job: Jobs, http: int, body: Any, error: type[ProviderError]
) -> None:
    route = respx.post(f"{BASE}/interactions").respond(http, json=body)
    with pytest.raises(ProviderError) as caught:
        await adapter.submit(job())
    assert type(caught.value) is error
    assert KEY not in caught.value.caller_detail + caught.value.operator_detail
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 13.5
    assert route.call_count == 1


@pytest.mark.parametrize(
    ("http", "name", "shown"),
    [
        (400, "INVALID_ARGUMENT", True),
        (429, "RESOURCE_EXHAUSTED", False),
        (400, "FAILED_PRECONDITION", False),
    ],
)
@respx.mock
async def test_callers_are_told_of_their_input_and_not_of_our_project(
    adapter: GeminiOmni, job: Jobs, http: int, name: str, shown: bool
) -> None:
    body = status(name, "No billing for project_number:4711.")
    respx.post(f"{BASE}/interactions").respond(http, json=body)
    with pytest.raises(ProviderError) as caught:
        await adapter.submit(job())
    assert ("4711" in caught.value.caller_detail) == shown
    assert "4711" in caught.value.operator_detail


@respx.mock
async def test_a_retry_after_header_counts_before_the_body(adapter: GeminiOmni, job: Jobs) -> None:
    body = status("RESOURCE_EXHAUSTED", "slow down", WAIT)
    respx.post(f"{BASE}/interactions").respond(429, json=body, headers={"retry-after": "2"})
    with pytest.raises(RateLimited) as caught:
        await adapter.submit(job())
    assert caught.value.retry_after == 2


@respx.mock
async def test_an_answer_that_names_no_job_leaves_it_open(adapter: GeminiOmni, job: Jobs) -> None:
    respx.post(f"{BASE}/interactions").respond(json={"status": "in_progress"})
    with pytest.raises(UnexpectedReply, match="took the job"):
        await adapter.submit(job())


STATUSES: list[tuple[dict[str, Any], Any]] = [
    ({"status": "queued"}, Queued()),
    ({"status": "in_progress"}, Running()),
    ({"status": "rendering"}, Running()),
    ({"status": "cancelled"}, Stopped()),
    ({"status": "cancelled", "usage": used(0)}, Stopped(usage=Usage(tokens=0))),
    ({"status": "cancelled", "usage": used(900)}, Stopped(billed=True, usage=Usage(tokens=900))),
    (
        {"status": "incomplete", "usage": used(900)},
        Failed(
            code="gave_up", message="Gemini gave the job up (incomplete): It gave no reason.", billed=True
        ),
    ),
    (
        {"status": "failed", "errors": [{"code": "internal", "message": "Oops."}]},
        Failed(code="gave_up", message="Gemini gave the job up (failed): Oops."),
    ),
    (
        {"status": "failed", "steps": [{"type": "thought", "error": {"code": 13, "message": "Oops."}}]},
        Failed(code="gave_up", message="Gemini gave the job up (failed): Oops."),
    ),
    (
        {"status": "incomplete", "errors": [{"code": "SAFETY", "message": "Not this."}]},
        Failed(code="content_blocked", message="Gemini refused the content: Not this.", user_fault=True),
    ),
    (
        {"status": "budget_exceeded"},
        Failed(
            code="out_of_credit", message="This gateway's budget at Gemini is used up: It gave no reason."
        ),
    ),
    (
        {"status": "requires_action"},
        Failed(code="gave_up", message="Gemini gave the job up (requires_action): It gave no reason."),
    ),
    (
        {"status": "requires_continuation", "steps": "odd", "errors": 7},
        Failed(
            code="gave_up",
            message="Gemini gave the job up (requires_continuation): It gave no reason.",
        ),
    ),
]


@pytest.mark.parametrize(("shown", "means"), STATUSES)
@respx.mock
async def test_each_status_means_something(adapter: GeminiOmni, shown: dict[str, Any], means: Any) -> None:
    route = respx.get(f"{BASE}/interactions/v1_Ch").respond(json=interaction(**shown))
    assert await adapter.poll(TICKET) == means
    assert dict(route.calls.last.request.url.params) == {"stream": "false"}


def done(*steps: dict[str, Any], **given: Any) -> dict[str, Any]:
    return interaction(
        status="completed", steps=[{"type": "thought"}, *steps], **{"usage": used(34752), **given}
    )


@pytest.mark.parametrize(
    ("state", "means"),
    [
        ("ACTIVE", Succeeded(url=URI, usage=Usage(tokens=34752))),
        ("PROCESSING", Running()),
        ("FAILED", Failed(code="gave_up", message="Gemini could not keep the clip.", billed=True)),
    ],
)
@respx.mock
async def test_a_clip_is_done_once_its_file_is(adapter: GeminiOmni, state: str, means: Any) -> None:
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(video())))
    respx.get(f"{BASE}/files/abc-1").respond(json={"name": "files/abc-1", "state": state})
    assert await adapter.poll(TICKET) == means
    assert adapter.download_headers(TICKET) == {"x-goog-api-key": KEY}


@pytest.mark.parametrize(("http", "word"), [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND")])
@respx.mock
async def test_a_file_that_is_gone_does_not_stop_the_account(
    adapter: GeminiOmni, http: int, word: str
) -> None:
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(video())))
    respx.get(f"{BASE}/files/abc-1").respond(http, json=status(word, "You do not have permission."))
    assert await adapter.poll(TICKET) == Succeeded(url=URI, usage=Usage(tokens=34752))


@respx.mock
async def test_the_last_video_counts(adapter: GeminiOmni) -> None:
    draft, last = f"{BASE}/files/one:download?alt=media", f"{BASE}/files/two:download?alt=media"
    steps = [output(video(draft)), output({"type": "text", "text": "Here."}, video(last), {"type": "text"})]
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(*steps))
    respx.get(f"{BASE}/files/two").respond(json={"state": "ACTIVE"})
    seen = await adapter.poll(TICKET)
    assert isinstance(seen, Succeeded)
    assert seen.url == last


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (used(100), 100),
        ({"total_output_tokens": 90}, 90),
        ({"total_output_tokens": 90, "output_tokens_by_modality": []}, 90),
        (
            {"total_output_tokens": 90, "output_tokens_by_modality": [{"modality": "text", "tokens": 90}]},
            None,
        ),
        ({"total_output_tokens": 90, "output_tokens_by_modality": [{"modality": "video"}]}, None),
        ({"total_output_tokens": 90, "output_tokens_by_modality": [{"modality": "VIDEO", "tokens": 80}]}, 80),
        (None, None),
        ("odd", None),
    ],
)
@respx.mock
async def test_what_is_billed_is_read_from_usage(adapter: GeminiOmni, usage: Any, tokens: int | None) -> None:
    uri = "https://storage.googleapis.com/x/clip.mp4"
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(video(uri)), usage=usage))
    assert await adapter.poll(TICKET) == Succeeded(url=uri, usage=Usage(tokens=tokens))


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example.com/files/abc:download",
        "https://googleapis.com.evil.example.com/x",
        "https://evilgoogleapis.com/x",
        "http://storage.googleapis.com/x",
        "gs://bucket/clip.mp4",
    ],
)
@respx.mock
async def test_the_key_is_never_taken_to_another_host(adapter: GeminiOmni, uri: str) -> None:
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(video(uri))))
    with pytest.raises(UnexpectedReply, match="not Google's"):
        await adapter.poll(TICKET)


@respx.mock
async def test_a_clip_inside_the_answer_is_streamed(adapter: GeminiOmni) -> None:
    clip = bytes(range(256)) * 8192
    data = {"type": "video", "mime_type": "video/mp4", "data": base64.b64encode(clip).decode()}
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(data)))
    assert await adapter.poll(TICKET) == Succeeded(usage=Usage(tokens=34752))
    chunks = [chunk async for chunk in adapter.content(TICKET)]
    assert b"".join(chunks) == clip
    assert len(chunks) == 2


@pytest.mark.parametrize("part", [{"type": "video", "data": "no base64"}, {"type": "text", "text": "gone"}])
@respx.mock
async def test_a_clip_that_cannot_be_read_is_said_to_be(adapter: GeminiOmni, part: dict[str, Any]) -> None:
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=done(output(part)))
    with pytest.raises(UnexpectedReply):
        _ = [chunk async for chunk in adapter.content(TICKET)]


WITHOUT: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, bool, bool]]] = [
    ("I won't make this.", used(0), {}, ("content_blocked", True, False)),
    ("I won't make this.", {}, {}, ("content_blocked", True, False)),
    ("", used(0), {}, ("no_output", False, False)),
    ("Here it is!", used(500), {}, ("no_output", False, True)),
    ("", used(0), {"updated": None}, ("no_output", False, False)),
]


@pytest.mark.parametrize(("said", "usage", "given", "means"), WITHOUT)
@respx.mock
async def test_completed_without_a_video_is_a_failure(
    adapter: GeminiOmni, said: str, usage: Any, given: dict[str, Any], means: tuple[str, bool, bool]
) -> None:
    shown = done(output({"type": "text", "text": said}), usage=usage, **given)
    respx.get(f"{BASE}/interactions/v1_Ch").respond(json=shown)
    failed = await adapter.poll(TICKET)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.user_fault, failed.billed) == means
    if failed.user_fault:
        assert said in failed.message


@respx.mock
async def test_output_that_is_late_is_waited_for(adapter: GeminiOmni) -> None:
    route = respx.get(f"{BASE}/interactions/v1_Ch")
    route.respond(json=done(updated=at(60), usage=used(500)))
    assert await adapter.poll(TICKET) == Running()
    route.respond(json=done(updated=at(121), usage=used(500)))
    assert isinstance(await adapter.poll(TICKET), Failed)


@pytest.mark.parametrize(
    ("http", "body", "error"),
    [
        (400, word("invalid_request", "Invalid interaction name"), UnexpectedReply),
        (400, status("INVALID_ARGUMENT", "no", BAD_KEY), NotAuthorised),
        (403, status("PERMISSION_DENIED"), NotAuthorised),
        (404, status("NOT_FOUND"), UnexpectedReply),
        (429, status("RESOURCE_EXHAUSTED"), RateLimited),
        (500, status("INTERNAL"), Unavailable),
        (200, {"id": "v1_Ch"}, UnexpectedReply),
    ],
)
@respx.mock
async def test_a_look_that_fails_says_nothing_of_the_job(
    adapter: GeminiOmni, http: int, body: Any, error: type[ProviderError]
) -> None:
    respx.get(f"{BASE}/interactions/v1_Ch").respond(http, json=body)
    with pytest.raises(ProviderError) as caught:
        await adapter.poll(TICKET)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("http", "body", "accepted"),
    [
        (200, interaction(status="cancelled"), True),
        (200, interaction(), True),
        (200, interaction(status="completed"), False),
        (400, word("invalid_request", "It is over."), False),
        (409, {}, False),
    ],
)
@respx.mock
async def test_cancelling_is_answered(adapter: GeminiOmni, http: int, body: Any, accepted: bool) -> None:
    respx.post(f"{BASE}/interactions/v1_Ch/cancel").respond(http, json=body)
    assert await adapter.cancel(TICKET) is accepted


@respx.mock
async def test_a_cancel_with_a_bad_key_is_no_answer(adapter: GeminiOmni) -> None:
    body = status("INVALID_ARGUMENT", "no", BAD_KEY)
    respx.post(f"{BASE}/interactions/v1_Ch/cancel").respond(400, json=body)
    with pytest.raises(NotAuthorised):
        await adapter.cancel(TICKET)


@respx.mock
async def test_an_id_cannot_lead_elsewhere(adapter: GeminiOmni) -> None:
    route = respx.get(url__regex=r".*").respond(json=interaction())
    await adapter.poll(Ticket(id="../files/x", data={"account": "default"}))
    assert route.calls.last.request.url.raw_path.startswith(b"/v1beta/interactions/..%2Ffiles%2Fx?")


@respx.mock
async def test_options_are_refused_since_there_are_none(adapter: GeminiOmni, job: Jobs) -> None:
    with pytest.raises(BadRequest, match=r"options\.gemini_omni\.task"):
        await adapter.submit(job(options={"task": "edit"}))
    assert not respx.calls


async def test_what_is_not_set_up_is_told() -> None:
    without = make({})
    told = without.unready(OMNI, "standard")
    assert told is not None
    assert told.code == "no_credentials"
    assert "REELGATE_PLUGINS__GEMINI_OMNI__ACCOUNTS__DEFAULT__API_KEY" in told.detail
    with pytest.raises(Unavailable) as caught:
        await without.poll(TICKET)
    assert "gemini_omni.accounts.default" in caught.value.operator_detail


async def test_the_agent_platform_is_not_spoken_to(adapter: GeminiOmni) -> None:
    told = adapter.unready(OFFERS["gemini_omni/gemini-omni-1.1/agent-platform"], "standard")
    assert told is not None
    assert told.code == "region_unsupported"
    assert adapter.unready(OMNI, "standard") is None


async def test_limits_are_the_accounts_own() -> None:
    accounts = {"a": {"api_key": KEY}, "b": {"api_key": KEY, "concurrent": 4, "submits_per_s": 0.5}}
    two = make({"accounts": accounts})
    assert two.accounts == ("a", "b")
    assert two.limits("a") == AccountLimits(submits_per_s=33)
    assert two.limits("b") == AccountLimits(concurrent=4, submits_per_s=0.5)
    assert KEY not in repr(vars(two))
    await two.aclose()
