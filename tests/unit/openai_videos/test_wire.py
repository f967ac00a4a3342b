"""What leaves for each kind of server, and what its answers mean."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import respx
from PIL import Image

from gateway.spec import (
    AccountLimits,
    BadRequest,
    ContentBlocked,
    Failed,
    LooksUp,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ParsesWebhooks,
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

from .conftest import (
    BASES,
    KEY,
    OFFERS,
    OWN,
    SECRET,
    SORA,
    Adapters,
    Jobs,
    fields_of,
    make,
    parts_of,
    picture,
)

TICKET = Ticket(id="video_1", data={"account": "default"})


def video(**given: Any) -> dict[str, Any]:
    return {
        "id": "video_1",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "created_at": int(time.time()),
        "completed_at": None,
        "expires_at": None,
        "prompt": "a paper boat on a puddle",
        "size": "1280x720",
        "seconds": "8",
        "remixed_from_video_id": None,
        "error": None,
        **given,
    }


@respx.mock
async def test_text_to_video_leaves_as_openais_own_sdk_sends_it(adapter: Adapters, job: Jobs) -> None:
    route = respx.post("https://api.openai.com/v1/videos").respond(json=video())
    assert await adapter().submit(job()) == TICKET
    request = route.calls.last.request
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert "idempotency-key" not in request.headers
    assert fields_of(request) == {
        "prompt": "a paper boat on a puddle",
        "model": "sora-2",
        "seconds": "8",
        "size": "1280x720",
    }
    assert route.call_count == 1


@respx.mock
async def test_azure_has_a_header_and_an_address_of_its_own(adapter: Adapters, job: Jobs) -> None:
    route = respx.post("https://clips.openai.azure.com/openai/v1/videos").respond(json=video())
    await adapter("azure").submit(job(OFFERS["openai_videos/sora-2-pro/azure"]))
    request = route.calls.last.request
    assert request.headers["api-key"] == KEY
    assert "authorization" not in request.headers
    assert fields_of(request)["model"] == "sora-2-pro"


@pytest.mark.parametrize(
    ("flavour", "beyond"),
    [
        ("litellm", {}),
        ("sglang", {"fps": "16", "num_frames": "64", "seed": "7"}),
        ("vllm_omni", {"fps": "16", "num_frames": "64", "seed": "7", "generate_sound": "false"}),
        ("reelgate", {"fps": "16", "seed": "7", "audio": "false"}),
    ],
)
@respx.mock
async def test_each_kind_of_server_is_told_what_it_takes(
    adapter: Adapters, job: Jobs, flavour: str, beyond: dict[str, str]
) -> None:
    route = respx.post(f"{BASES[flavour]}/videos").respond(json=video())
    ordered = job(OWN, seconds="4", fps=16, size="832x480", audio=False)
    await adapter(flavour).submit(ordered)
    request = route.calls.last.request
    plain = {
        "prompt": "a paper boat on a puddle",
        "model": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        "seconds": "4",
        "size": "832x480",
    }
    assert fields_of(request) == plain | beyond
    assert request.headers.get("idempotency-key") == (ordered.tag if flavour == "reelgate" else None)


@respx.mock
async def test_half_a_second_is_told_in_frames(adapter: Adapters, job: Jobs) -> None:
    route = respx.post(f"{BASES['vllm_omni']}/videos").respond(json=video())
    await adapter("vllm_omni").submit(job(OWN, seconds="2.5", fps=16))
    sent = fields_of(route.calls.last.request)
    assert sent["num_frames"] == "40"
    assert "seconds" not in sent


@respx.mock
async def test_a_server_without_a_key_is_sent_none(adapter: Adapters, job: Jobs) -> None:
    route = respx.post(f"{BASES['sglang']}/videos").respond(json=video())
    await adapter("sglang", api_key=None).submit(job(OWN))
    assert "authorization" not in route.calls.last.request.headers


@respx.mock
async def test_knobs_go_to_the_servers_that_have_them(adapter: Adapters, job: Jobs) -> None:
    route = respx.post(f"{BASES['vllm_omni']}/videos").respond(json=video())
    options = {"num_inference_steps": 4, "guidance_scale": 1.0, "guidance_scale_2": 1.5, "flow_shift": 5}
    await adapter("vllm_omni").submit(job(OWN, options=options))
    sent = fields_of(route.calls.last.request)
    assert {name: sent[name] for name in options} == {
        "num_inference_steps": "4",
        "guidance_scale": "1.0",
        "guidance_scale_2": "1.5",
        "flow_shift": "5.0",
    }
    for flavour, name in (("openai", "guidance_scale"), ("sglang", "flow_shift")):
        with pytest.raises(Unsupported, match=rf"options\.openai_videos\.{name}"):
            await adapter(flavour).submit(job(OWN, options={name: 1}))
    assert route.call_count == 1


@respx.mock
async def test_a_first_frame_of_the_right_size_goes_as_it_is(adapter: Adapters, job: Jobs) -> None:
    route = respx.post("https://api.openai.com/v1/videos").respond(json=video())
    frame = picture(1280, 720)
    await adapter().submit(job(first_frame=frame))
    part = parts_of(route.calls.last.request)["input_reference"]
    assert part.get_filename() == "first_frame.png"
    assert part.get_content_type() == "image/png"
    assert part.get_payload(decode=True) == frame


@respx.mock
async def test_another_size_is_fitted_without_distortion(adapter: Adapters, job: Jobs) -> None:
    route = respx.post("https://api.openai.com/v1/videos").respond(json=video())
    wide = Image.new("RGB", (900, 300), (0, 0, 255))  # its middle is red: the sides are what has to go
    wide.paste((255, 0, 0), (200, 0, 700, 300))
    frame = io.BytesIO()
    wide.save(frame, "PNG")
    await adapter().submit(job(first_frame=frame.getvalue(), size="720x1280"))
    sent = parts_of(route.calls.last.request)["input_reference"].get_payload(decode=True)
    assert isinstance(sent, bytes)
    with Image.open(io.BytesIO(sent)) as seen:
        assert (seen.size, seen.format) == ((720, 1280), "PNG")
        assert seen.getpixel((5, 640)) == (255, 0, 0)


@respx.mock
async def test_a_jpeg_stays_one(adapter: Adapters, job: Jobs) -> None:
    route = respx.post("https://api.openai.com/v1/videos").respond(json=video())
    ordered = job(first_frame=picture(640, 360, "JPEG"))
    (image,) = ordered.request.images
    jpeg = image.model_copy(update={"media_type": "image/jpeg"})
    ordered = replace(ordered, request=ordered.request.model_copy(update={"images": (jpeg,)}))
    await adapter().submit(ordered)
    part = parts_of(route.calls.last.request)["input_reference"]
    assert (part.get_filename(), part.get_content_type()) == ("first_frame.jpeg", "image/jpeg")


@respx.mock
async def test_a_last_frame_goes_to_a_reelgate_and_to_nobody_else(adapter: Adapters, job: Jobs) -> None:
    ordered = job(OWN, first_frame=picture(1280, 720))
    (image,) = ordered.request.images
    both = (image, image.model_copy(update={"role": "last_frame"}))
    ordered = replace(ordered, request=ordered.request.model_copy(update={"images": both}))
    route = respx.post(f"{BASES['reelgate']}/videos").respond(json=video())
    await adapter("reelgate").submit(ordered)
    sent = fields_of(route.calls.last.request)
    assert (sent["input_reference"], sent["last_frame"]) == ("(file)", "(file)")
    with pytest.raises(Unsupported, match="last_frame"):
        await adapter("litellm").submit(ordered)


REFUSALS: list[tuple[str, int, str | int | None, type[ProviderError]]] = [
    ("openai", 400, "invalid_value", BadRequest),
    ("openai", 400, "unknown_parameter", BadRequest),
    ("openai", 400, "moderation_blocked", ContentBlocked),
    ("openai", 400, "content_policy_violation", ContentBlocked),
    ("openai", 400, "billing_hard_limit_reached", OutOfCredit),
    ("openai", 403, "billing_not_active", OutOfCredit),
    ("openai", 429, "insufficient_quota", OutOfCredit),
    ("openai", 401, "invalid_api_key", NotAuthorised),
    ("openai", 401, None, NotAuthorised),
    ("openai", 403, None, NotAuthorised),
    ("openai", 403, "unsupported_country_region_territory", NotAuthorised),
    ("openai", 404, "model_not_found", ModelGone),
    ("openai", 404, None, ModelGone),
    ("openai", 410, None, ModelGone),
    ("azure", 404, "DeploymentNotFound", Unsupported),
    ("openai", 408, None, OutcomeUnknown),
    ("openai", 409, None, Unavailable),
    ("openai", 413, None, BadRequest),
    ("openai", 422, None, BadRequest),
    ("openai", 429, "rate_limit_exceeded", RateLimited),
    ("openai", 500, "server_error", OutcomeUnknown),
    ("openai", 502, None, OutcomeUnknown),
    ("openai", 503, None, OutcomeUnknown),
    ("openai", 504, None, OutcomeUnknown),
    ("vllm_omni", 400, None, BadRequest),
    ("litellm", 400, "400", BadRequest),
    ("reelgate", 402, "budget_exceeded", OutOfCredit),
    ("reelgate", 404, "model_not_found", ModelGone),
    ("reelgate", 409, "idempotency_key_in_flight", OutcomeUnknown),
    ("reelgate", 422, "nothing_fits", Unsupported),
    ("reelgate", 422, "retired", Unsupported),
    ("reelgate", 422, "idempotency_key_reused", BadRequest),
]


@pytest.mark.parametrize(("flavour", "status", "code", "error"), REFUSALS)
@respx.mock
async def test_every_documented_refusal_has_its_class(
    adapter: Adapters,
    job: Jobs,
    flavour: str,
    status: int,
    code: str | int | None,
    error: type[ProviderError],
) -> None:
    body = {"error": {"message": f"no: {KEY}", "type": "invalid_request_error", "param": None, "code": code}}
    route = respx.post(f"{BASES[flavour]}/videos").respond(status, json=body, headers={"retry-after": "7"})
    with pytest.raises(ProviderError) as caught:
        await adapter(flavour).submit(job(OWN))
    assert type(caught.value) is error
    assert KEY not in caught.value.operator_detail
    if error is NotAuthorised:
        assert KEY not in caught.value.caller_detail
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after == 7
    assert route.call_count == 1


@respx.mock
async def test_fastapis_own_errors_are_read(adapter: Adapters, job: Jobs) -> None:
    respx.post(f"{BASES['sglang']}/videos").respond(400, json={"detail": "prompt is required"})
    with pytest.raises(BadRequest, match="prompt is required"):
        await adapter("sglang").submit(job(OWN))


@pytest.mark.parametrize("answer", [{}, {"id": ""}, {"error": {"code": "odd"}}])
@respx.mock
async def test_an_answer_that_names_no_job_leaves_it_open(
    adapter: Adapters, job: Jobs, answer: dict[str, Any]
) -> None:
    respx.post(f"{BASES['openai']}/videos").respond(json=answer)
    with pytest.raises(UnexpectedReply, match="took the job"):
        await adapter().submit(job())


SHOWN: list[tuple[str, dict[str, Any], Any]] = [
    ("openai", {"status": "queued"}, Queued()),
    ("openai", {"status": "in_progress", "progress": 41}, Running(progress=41)),
    ("openai", {"status": "in_progress", "progress": None}, Running()),
    ("openai", {"status": "in_progress", "progress": 180}, Running(progress=100)),
    ("openai", {"status": "in_progress", "progress": "much"}, Running()),
    ("litellm", {"status": "processing"}, Running(progress=0)),
    ("sglang", {"status": "cancelling"}, Running(progress=0)),
    ("sglang", {"status": "cancelled"}, Stopped()),
    ("sglang", {"status": "deleted"}, Stopped()),
    (
        "openai",
        {"status": "failed", "error": {"code": "moderation_blocked", "message": "Blocked  by\nus."}},
        Failed(code="content_blocked", message="OpenAI refused the content: Blocked by us.", user_fault=True),
    ),
    (
        "openai",
        {"status": "failed", "error": {"code": "internal_error", "message": "Sorry."}},
        Failed(code="gave_up", message="OpenAI gave the job up: Sorry."),
    ),
    (
        "openai",
        {"status": "failed"},
        Failed(code="gave_up", message="OpenAI gave the job up: It gave no reason."),
    ),
    (
        "sglang",
        {"status": "failed", "error": {"message": "CUDA out of memory"}},
        Failed(code="gave_up", message="SGLang gave the job up: CUDA out of memory"),
    ),
    ("reelgate", {"status": "failed", "error": {"code": "cancelled", "message": "."}}, Stopped()),
]


@pytest.mark.parametrize(("flavour", "shown", "means"), SHOWN)
@respx.mock
async def test_each_status_means_something(
    adapter: Adapters, flavour: str, shown: dict[str, Any], means: Any
) -> None:
    respx.get(f"{BASES[flavour]}/videos/video_1").respond(json=video(**shown))
    assert await adapter(flavour).poll(TICKET) == means


@pytest.mark.parametrize("flavour", ["openai", "azure"])
@respx.mock
async def test_a_finished_clip_is_fetched_with_the_accounts_key(adapter: Adapters, flavour: str) -> None:
    respx.get(f"{BASES[flavour]}/videos/video_1").respond(json=video(status="completed", seconds="12"))
    speaks = adapter(flavour)
    assert await speaks.poll(TICKET) == Succeeded(
        url=f"{BASES[flavour]}/videos/video_1/content", usage=Usage(seconds=Decimal(12))
    )
    header = {"openai": {"Authorization": f"Bearer {KEY}"}, "azure": {"api-key": KEY}}[flavour]
    assert speaks.download_headers(TICKET) == header


@respx.mock
async def test_the_servers_wish_when_to_look_again_is_passed_on(adapter: Adapters) -> None:
    route = respx.get(f"{BASES['openai']}/videos/video_1")
    for wish, heard in (("2500", 2500), ("soon", None), ("-5", None)):
        route.respond(json=video(), headers={"openai-poll-after-ms": wish})
        assert await adapter().poll(TICKET) == Queued(poll_after_ms=heard)


@pytest.mark.parametrize("status", [400, 422, 500, 503])
@respx.mock
async def test_vllm_omni_tells_of_a_failed_job_with_the_failures_own_status(
    adapter: Adapters, status: int
) -> None:
    shown = video(status="failed", error={"code": status, "message": "out of memory"})
    respx.get(f"{BASES['vllm_omni']}/videos/video_1").respond(status, json=shown)
    failed = await adapter("vllm_omni").poll(TICKET)
    assert failed == Failed(code="gave_up", message="vLLM-Omni gave the job up: out of memory")


@pytest.mark.parametrize(
    ("flavour", "status", "body", "error"),
    [
        ("openai", 404, {"error": {"message": "Video not found"}}, UnexpectedReply),
        ("openai", 400, {"error": {"message": "odd"}}, UnexpectedReply),
        ("openai", 200, {"id": "video_1"}, UnexpectedReply),
        ("openai", 401, {"error": {"code": "invalid_api_key"}}, NotAuthorised),
        ("openai", 429, {"error": {"code": "rate_limit_exceeded"}}, RateLimited),
        ("openai", 500, {"error": {"code": "server_error"}}, Unavailable),
        ("vllm_omni", 500, {"detail": "odd"}, Unavailable),
        ("vllm_omni", 404, {"detail": "Not Found"}, UnexpectedReply),
    ],
)
@respx.mock
async def test_a_look_that_fails_says_nothing_of_the_job(
    adapter: Adapters, flavour: str, status: int, body: dict[str, Any], error: type[ProviderError]
) -> None:
    respx.get(f"{BASES[flavour]}/videos/video_1").respond(status, json=body)
    with pytest.raises(ProviderError) as caught:
        await adapter(flavour).poll(TICKET)
    assert type(caught.value) is error


@pytest.mark.parametrize("flavour", ["vllm_omni", "sglang"])
@respx.mock
async def test_a_server_that_forgot_the_job_has_lost_it(adapter: Adapters, flavour: str) -> None:
    respx.get(f"{BASES[flavour]}/videos/video_1").respond(404, json={"detail": "Video not found"})
    lost = await adapter(flavour).poll(TICKET)
    assert isinstance(lost, Failed)
    assert (lost.code, lost.user_fault, lost.billed) == ("job_lost", False, False)


@pytest.mark.parametrize(
    ("key", "url"),
    [(None, "https://bucket.example.com/1.mp4"), (KEY, "http://10.0.0.5:30010/v1/videos/video_1/content")],
)
@respx.mock
async def test_an_sglang_with_a_key_is_never_followed_into_its_bucket(
    adapter: Adapters, key: str | None, url: str
) -> None:
    shown = video(
        status="completed", url="https://bucket.example.com/1.mp4", file_path=None, quality="standard"
    )
    respx.get(f"{BASES['sglang']}/videos/video_1").respond(json=shown)
    speaks = adapter("sglang", api_key=key)
    assert await speaks.poll(TICKET) == Succeeded(url=url)
    assert bool(speaks.download_headers(TICKET)) == (key is not None)


@respx.mock
async def test_an_id_cannot_lead_elsewhere(adapter: Adapters) -> None:
    route = respx.get(url__regex=r".*").respond(json=video())
    await adapter().poll(Ticket(id="../files?x", data={"account": "default"}))
    assert route.calls.last.request.url.raw_path == b"/v1/videos/..%2Ffiles%3Fx"


async def test_the_account_of_a_ticket_must_still_be_there(adapter: Adapters) -> None:
    with pytest.raises(Unavailable) as caught:
        await adapter().poll(Ticket(id="video_1", data={"account": "old"}))
    assert "openai_videos.accounts.old" in caught.value.operator_detail


@pytest.mark.parametrize("flavour", ["openai", "azure", "sglang", "litellm"])
@respx.mock
async def test_where_nothing_can_be_cancelled_nothing_is_sent(adapter: Adapters, flavour: str) -> None:
    assert await adapter(flavour).cancel(TICKET) is False
    assert not respx.calls


@pytest.mark.parametrize(
    ("status", "error", "accepted"),
    [
        ("queued", None, True),
        ("in_progress", None, True),
        ("completed", None, False),
        ("failed", {"code": "gave_up", "message": "."}, False),
    ],
)
@respx.mock
async def test_a_reelgate_cancels_by_a_call(
    adapter: Adapters, status: str, error: Any, accepted: bool
) -> None:
    respx.post(f"{BASES['reelgate']}/videos/video_1/cancel").respond(json=video(status=status, error=error))
    assert await adapter("reelgate").cancel(TICKET) is accepted


@respx.mock
async def test_vllm_omni_cancels_by_a_delete_but_never_a_clip_that_is_done(adapter: Adapters) -> None:
    look = respx.get(f"{BASES['vllm_omni']}/videos/video_1").respond(json=video(status="in_progress"))
    delete = respx.delete(f"{BASES['vllm_omni']}/videos/video_1").respond(
        json={"id": "video_1", "deleted": True, "object": "video.deleted"}
    )
    assert await adapter("vllm_omni").cancel(TICKET) is True
    assert delete.call_count == 1
    look.respond(json=video(status="completed"))
    assert await adapter("vllm_omni").cancel(TICKET) is False
    assert delete.call_count == 1


def listed(*videos: dict[str, Any], more: bool = False) -> dict[str, Any]:
    last = videos[-1]["id"] if videos else None
    return {"object": "list", "data": list(videos), "first_id": None, "last_id": last, "has_more": more}


async def find(speaks: Any, ordered: Any) -> Ticket | None:
    assert isinstance(speaks, LooksUp)
    return await speaks.lookup(ordered)


@respx.mock
async def test_a_lost_job_is_found_by_all_that_the_list_shows(adapter: Adapters, job: Jobs) -> None:
    route = respx.get("https://api.openai.com/v1/videos").respond(
        json=listed(
            video(id="video_a", prompt="another"),
            video(id="video_b", model="sora-2-pro"),
            video(id="video_c", seconds="4"),
            video(id="video_d", size="720x1280"),
            video(id="video_e", status="in_progress"),
            video(id="video_f", created_at=int(time.time()) - 3600),
        )
    )
    found = await find(adapter(), job())
    assert found == Ticket(id="video_e", data={"account": "default"})
    assert dict(route.calls.last.request.url.params) == {"limit": "100", "order": "desc"}
    assert await find(adapter(), job(prompt="nobody asked for this")) is None


@respx.mock
async def test_two_that_match_are_not_guessed_between(adapter: Adapters, job: Jobs) -> None:
    respx.get("https://api.openai.com/v1/videos").respond(
        json=listed(video(id="video_a"), video(id="video_b"))
    )
    with pytest.raises(OutcomeUnknown, match="video_a, video_b"):
        await find(adapter(), job())


@respx.mock
async def test_the_list_is_read_back_to_when_the_attempt_was_planned(adapter: Adapters, job: Jobs) -> None:
    planned = datetime.now(UTC)
    old = video(id="video_z", created_at=int(planned.timestamp()) - 60)
    pages = [listed(video(id="video_n", prompt="x"), more=True), listed(video(), old, more=True)]
    route = respx.get("https://api.openai.com/v1/videos").mock(
        side_effect=[httpx.Response(200, json=page) for page in pages]
    )
    found = await find(adapter(), replace(job(), planned_at=planned))
    assert found is not None
    assert found.id == "video_1"
    assert route.calls.last.request.url.params["after"] == "video_n"
    assert route.call_count == 2


@respx.mock
async def test_a_list_without_end_is_not_read_for_ever(adapter: Adapters, job: Jobs) -> None:
    route = respx.get("https://api.openai.com/v1/videos").respond(json=listed(video(prompt="x"), more=True))
    with pytest.raises(OutcomeUnknown, match="too many"):
        await find(adapter(), job())
    assert route.call_count == 10


@pytest.mark.parametrize("flavour", ["sglang", "litellm", "reelgate"])
async def test_a_list_that_cannot_tell_jobs_apart_is_not_asked(
    adapter: Adapters, job: Jobs, flavour: str
) -> None:
    with pytest.raises(OutcomeUnknown, match="no list"):
        await find(adapter(flavour), job(OWN))


async def test_without_a_time_nothing_is_adopted(adapter: Adapters, job: Jobs) -> None:
    with pytest.raises(OutcomeUnknown):
        await find(adapter(), replace(job(), planned_at=None))


def signed(body: bytes, *, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    at = int(time.time()) - age_s
    digest = hmac.new(key, b"evt_1.%d." % at + body, hashlib.sha256).digest()
    return {
        "Webhook-Id": "evt_1",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,bm90aGluZw== v1,{base64.b64encode(digest).decode()}",
    }


def event(kind: str, id: str = "video_1") -> bytes:
    data = {"id": "evt_1", "object": "event", "created_at": 1, "type": kind, "data": {"id": id}}
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("kind", "ids"),
    [("video.completed", ["video_1"]), ("video.failed", ["video_1"]), ("response.completed", [])],
)
def test_a_signed_event_names_its_job(adapter: Adapters, kind: str, ids: list[str]) -> None:
    speaks = adapter(webhook_secret=SECRET)
    assert isinstance(speaks, ParsesWebhooks)
    assert speaks.parse_webhook(signed(event(kind)), event(kind)) == ids


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(event("video.completed", "video_2")),
        signed(event("video.completed"), secret="whsec_" + base64.b64encode(b"another").decode()),
        signed(event("video.completed"), age_s=400),
        signed(event("video.completed"), age_s=-40_000),  # made when the tests were collected
        {**signed(event("video.completed")), "webhook-signature": "v1"},
        {**signed(event("video.completed")), "webhook-signature": "v1,*"},
        {**signed(event("video.completed")), "webhook-timestamp": "now"},
    ],
)
def test_a_webhook_that_is_not_signed_right_is_refused(adapter: Adapters, headers: dict[str, str]) -> None:
    speaks = adapter(webhook_secret=SECRET)
    assert isinstance(speaks, ParsesWebhooks)
    with pytest.raises(NotAuthorised):
        speaks.parse_webhook(headers, event("video.completed"))


def test_the_published_vector_of_standard_webhooks_verifies(
    adapter: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(1614265330, tz=tz)

    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Then)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    speaks = adapter(webhook_secret=SECRET)
    assert isinstance(speaks, ParsesWebhooks)
    assert speaks.parse_webhook(headers, b'{"test": 2432232314}') == []


def test_without_a_secret_no_webhook_is_believed(adapter: Adapters) -> None:
    speaks = adapter()
    assert isinstance(speaks, ParsesWebhooks)
    with pytest.raises(NotAuthorised):
        speaks.parse_webhook(signed(event("video.completed")), event("video.completed"))


def test_without_an_account_it_is_told_what_to_set() -> None:
    speaks = make({}, [])
    told = speaks.unready(SORA, "standard")
    assert told is not None
    assert told.code == "no_credentials"
    assert "REELGATE_PLUGINS__OPENAI_VIDEOS__ACCOUNTS__DEFAULT__API_KEY" in told.detail
    assert speaks.accounts == ("default",)


async def test_an_offer_is_served_by_the_accounts_of_its_region(job: Jobs) -> None:
    built: list[Any] = []
    accounts = {
        "main": {"api_key": KEY, "concurrent": 3, "submits_per_s": 0.4},
        "second": {"api_key": KEY},
        "basement": {"flavour": "vllm_omni", "base_url": BASES["vllm_omni"]},
        "attic": {"flavour": "vllm_omni", "base_url": "http://10.0.0.5:8092/v1"},
        "cloud": {"flavour": "azure", "base_url": BASES["azure"]},
    }
    speaks = make({"accounts": accounts}, built)

    def able(**given: Any) -> tuple[str, ...]:
        offer = OWN.model_copy(update=given)
        return tuple(name for name in (*accounts, "gone") if speaks.serves(offer, name))

    names = {region: able(region=region) for region in ("openai", "vllm_omni", "attic", "nowhere")}
    assert names == {
        "openai": ("main", "second"),
        "vllm_omni": ("basement", "attic"),
        "attic": ("attic",),
        "nowhere": (),
    }
    assert able() == ("main", "second", "basement", "attic"), "a key that is needed is missing in the cloud"
    assert able(region="vllm_omni", submit_policy="idempotency_key") == ()
    assert speaks.accounts == tuple(accounts)
    assert speaks.limits("main") == AccountLimits(concurrent=3, submits_per_s=0.4)
    assert speaks.limits("second") == AccountLimits()

    def code(**given: Any) -> str | None:
        told = speaks.unready(OWN.model_copy(update=given), "standard")
        return told and told.code

    assert code(region="attic") is None
    assert code(region="attic", submit_policy="lookup") is None
    assert code(region="attic", submit_policy="idempotency_key") == "submit_policy_unsupported"
    assert code(region="nowhere") == "no_credentials"
    assert code(region="cloud") == "no_credentials"
    assert code(submit_policy="idempotency_key") == "submit_policy_unsupported"
    assert code() is None, "one account that fits is enough"

    with respx.mock:
        route = respx.post("http://10.0.0.5:8092/v1/videos").respond(json=video())
        attic = OWN.model_copy(update={"region": "attic"})
        ticket = await speaks.submit(job(attic, account="attic"))
        assert ticket.data == {"account": "attic"}
        assert route.call_count == 1
        with pytest.raises(Unsupported, match="nothing was created") as caught:
            await speaks.submit(job(attic, account="main"))
        assert "accounts.main does not fit" in caught.value.operator_detail
        with pytest.raises(NotAuthorised, match="nothing was created"):
            await speaks.submit(job(attic, account="gone"))
    await speaks.aclose()


@pytest.mark.parametrize(
    ("account", "names"),
    [
        ({"flavour": "sglang"}, "base_url"),
        ({"api_key": KEY, "webhook_secret": "whsec_"}, "webhook_secret"),
        ({"api_key": KEY, "webhook_secret": "whsec_a"}, "webhook_secret"),
        ({"api_key": KEY, "keys": 1}, "keys"),
    ],
)
def test_a_wrong_setting_is_named_and_no_key_shown(account: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=names) as caught:
        make({"accounts": {"default": account}}, [])
    assert KEY not in str(caught.value)


def test_no_key_shows_in_a_repr(adapter: Adapters) -> None:
    speaks = adapter(webhook_secret=SECRET)
    assert KEY not in repr(speaks)
    assert KEY not in repr(vars(speaks))
    assert SECRET not in repr(vars(speaks))
