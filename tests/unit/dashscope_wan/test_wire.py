"""What leaves for Model Studio, byte for byte, and what its answers mean."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import respx

from adapters.dashscope_wan._adapter import DashscopeWan, StudioSettings
from adapters.dashscope_wan._lookup import window
from gateway.kit.options import read_settings
from gateway.spec import (
    AccountLimits,
    BadRequest,
    ContentBlocked,
    Failed,
    InputImage,
    ModelGone,
    NotAuthorised,
    Offer,
    OutcomeUnknown,
    OutOfCredit,
    PluginContext,
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
    Usage,
)

from .conftest import KEYS, build, make, offer_of, picture

SINGAPORE = "https://dashscope-intl.aliyuncs.com"
BEIJING = "https://dashscope.aliyuncs.com"
CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
ID = "11111111-2222-4333-8444-000000000001"
TAKEN = {"output": {"task_status": "PENDING", "task_id": ID}, "request_id": "55555555"}
TICKET = Ticket(id=ID, data={"account": "default"})


def inline(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


FIRST, LAST, JPEG = picture(), picture(colour=200), picture(kind="JPEG")
DEFAULTS = {"prompt_extend": False, "watermark": False}

BODIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"offer_id": "wan-2.2-t2v-plus/singapore", "size": "832x480", "seed": 7, "negative_prompt": "blur"},
        {
            "model": "wan2.2-t2v-plus",
            "input": {"prompt": "a red kite over dunes", "negative_prompt": "blur"},
            "parameters": {"size": "832*480", "duration": 5, **DEFAULTS, "seed": 7},
        },
    ),
    (
        {"offer_id": "wan-2.2-i2v-plus/singapore", "size": "1080x1920", "pictures": {"first_frame": JPEG}},
        {
            "model": "wan2.2-i2v-plus",
            "input": {"prompt": "a red kite over dunes", "img_url": inline(JPEG, "jpeg")},
            "parameters": {"resolution": "1080P", "duration": 5, **DEFAULTS},
        },
    ),
    (
        {"offer_id": "wan-2.5-t2v/singapore", "size": "624x624", "seconds": "10", "audio": True},
        {
            "model": "wan2.5-t2v-preview",
            "input": {"prompt": "a red kite over dunes"},
            "parameters": {"size": "624*624", "duration": 10, "audio": True, **DEFAULTS},
        },
    ),
    (
        {
            "offer_id": "wan-2.6-t2v/singapore",
            "options": {"prompt_extend": True, "shot_type": "multi", "watermark": True},
        },
        {
            "model": "wan2.6-t2v",
            "input": {"prompt": "a red kite over dunes"},
            "parameters": {
                "size": "1280*720",
                "duration": 5,
                "prompt_extend": True,
                "shot_type": "multi",
                "audio": False,
                "watermark": True,
            },
        },
    ),
    (
        {"offer_id": "wan-2.6-i2v/singapore", "pictures": {"first_frame": FIRST}, "audio": True},
        {
            "model": "wan2.6-i2v",
            "input": {"prompt": "a red kite over dunes", "img_url": inline(FIRST)},
            "parameters": {"resolution": "720P", "duration": 5, "audio": True, **DEFAULTS},
        },
    ),
    (
        {"offer_id": "wan-2.7-t2v/singapore", "size": "1248x1632", "seconds": "15", "audio": True},
        {
            "model": "wan2.7-t2v",
            "input": {"prompt": "a red kite over dunes"},
            "parameters": {"resolution": "1080P", "ratio": "3:4", "duration": 15, **DEFAULTS},
        },
    ),
    (
        {
            "offer_id": "wan-2.7-i2v/singapore",
            "audio": True,
            "pictures": {"first_frame": FIRST, "last_frame": LAST},
        },
        {
            "model": "wan2.7-i2v",
            "input": {
                "prompt": "a red kite over dunes",
                "media": [
                    {"type": "first_frame", "url": inline(FIRST)},
                    {"type": "last_frame", "url": inline(LAST)},
                ],
            },
            "parameters": {"resolution": "720P", "duration": 5, **DEFAULTS},
        },
    ),
    (
        {
            "offer_id": "wan-3.0-t2v/singapore",
            "size": "480x832",
            "seconds": "30",
            "seed": 2**31 - 1,
            "negative_prompt": "a knob that 3.0 does not have",
        },
        {
            "model": "wan3.0-video",
            "input": {"prompt": "a red kite over dunes"},
            "parameters": {
                "resolution": "480P",
                "ratio": "9:16",
                "duration": 30,
                "audio": False,
                "watermark": False,
                "seed": 2**31 - 1,
            },
        },
    ),
    (
        {
            "offer_id": "wan-3.0-prime-i2v/singapore",
            "audio": True,
            "pictures": {"reference": FIRST, "reference 2": LAST},
        },
        {
            "model": "wan3.0-video-prime",
            "input": {
                "prompt": "a red kite over dunes",
                "media": [
                    {"type": "reference_image", "url": inline(FIRST)},
                    {"type": "reference_image", "url": inline(LAST)},
                ],
            },
            "parameters": {
                "resolution": "720P",
                "ratio": "16:9",
                "duration": 5,
                "audio": True,
                "watermark": False,
            },
        },
    ),
]


@pytest.mark.parametrize(("job", "body"), BODIES, ids=lambda one: one.get("offer_id", ""))
async def test_a_create_as_it_leaves(
    respx_mock: respx.MockRouter, adapter: DashscopeWan, job: dict[str, Any], body: dict[str, Any]
) -> None:
    route = respx_mock.post(f"{SINGAPORE}{CREATE}").respond(json=TAKEN)
    assert await adapter.submit(make(**job)) == TICKET
    assert json.loads(route.calls.last.request.content) == body


async def test_first_and_last_frame_of_2_2_have_a_path_of_their_own(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    path = "/api/v1/services/aigc/image2video/video-synthesis"
    route = respx_mock.post(f"{BEIJING}{path}").respond(json=TAKEN)
    frames = {"first_frame": FIRST, "last_frame": LAST}
    ticket = await adapter.submit(make("wan-2.2-kf2v-flash/beijing", pictures=frames, account="cn"))
    assert ticket.data == {"account": "cn"}
    assert json.loads(route.calls.last.request.content) == {
        "model": "wan2.2-kf2v-flash",
        "input": {
            "prompt": "a red kite over dunes",
            "first_frame_url": inline(FIRST),
            "last_frame_url": inline(LAST),
        },
        "parameters": {"resolution": "720P", "duration": 5, **DEFAULTS},
    }


async def test_headers(respx_mock: respx.MockRouter, adapter: DashscopeWan) -> None:
    create = respx_mock.post(f"{SINGAPORE}{CREATE}").respond(json=TAKEN)
    look = respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(json=TAKEN)
    ticket = await adapter.submit(make("wan-2.2-t2v-plus/singapore", size="832x480"))
    await adapter.poll(ticket)
    sent = create.calls.last.request.headers
    assert sent["authorization"] == f"Bearer {KEYS['default']}"
    assert sent["content-type"] == "application/json"
    assert sent["x-dashscope-async"] == "enable"
    asked = look.calls.last.request.headers
    assert asked["authorization"] == f"Bearer {KEYS['default']}"
    assert "x-dashscope-async" not in asked


# --- regions and accounts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "host"),
    [
        ({}, SINGAPORE),
        ({"region": "beijing"}, BEIJING),
        ({"region": "virginia"}, "https://dashscope-us.aliyuncs.com"),
        ({"region": "hongkong"}, "https://cn-hongkong.dashscope.aliyuncs.com"),
        ({"workspace": "ws-1"}, "https://ws-1.ap-southeast-1.maas.aliyuncs.com"),
        ({"region": "beijing", "workspace": "ws-1"}, "https://ws-1.cn-beijing.maas.aliyuncs.com"),
        ({"region": "virginia", "workspace": "ws-1"}, "https://ws-1.us-east-1.maas.aliyuncs.com"),
        ({"region": "frankfurt", "workspace": "ws-1"}, "https://ws-1.eu-central-1.maas.aliyuncs.com"),
        ({"region": "tokyo", "workspace": "ws-1"}, "https://ws-1.ap-northeast-1.maas.aliyuncs.com"),
        ({"region": "tokyo", "base_url": "https://proxy.example"}, "https://proxy.example"),
    ],
)
async def test_hosts(respx_mock: respx.MockRouter, account: dict[str, str], host: str) -> None:
    adapter = build(accounts={"default": {"api_key": "sk-1", **account}})
    look = respx_mock.get(f"{host}/api/v1/tasks/{ID}").respond(json=TAKEN)
    assert await adapter.poll(TICKET) == Queued()
    assert look.called


def test_a_region_without_a_shared_host_needs_a_workspace() -> None:
    context = PluginContext(
        settings={"dashscope_wan": {"accounts": {"eu": {"api_key": "sk-secret-1", "region": "frankfurt"}}}},
        data_dir=None,  # type: ignore[arg-type]  # nothing is written
    )
    with pytest.raises(ValueError, match=r"accounts\.eu.*set workspace") as caught:
        read_settings(context, "dashscope_wan", StudioSettings)
    assert "sk-secret-1" not in str(caught.value)


async def test_an_account_has_the_offers_of_its_region(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    (_, here), (_, there) = offer_of("wan-2.2-t2v-plus/singapore"), offer_of("wan-2.2-t2v-plus/beijing")
    able = [
        [name for name in ("default", "cn", "gone") if adapter.serves(offer, name)]
        for offer in (here, there, here.model_copy(update={"region": None}))
    ]
    assert able == [["default"], ["cn"], ["default", "cn"]]
    route = respx_mock.post(f"{BEIJING}{CREATE}").respond(json=TAKEN)
    ticket = await adapter.submit(make("wan-2.2-t2v-plus/beijing", size="832x480", account="cn"))
    assert ticket.data == {"account": "cn"}
    assert route.calls.last.request.headers["authorization"] == f"Bearer {KEYS['cn']}"
    with pytest.raises(Unsupported, match="of another region than") as caught:
        await adapter.submit(make("wan-2.2-t2v-plus/beijing", size="832x480", account="default"))
    assert "default is in singapore, not in beijing" in caught.value.operator_detail
    with pytest.raises(NotAuthorised, match="no longer has the account"):
        await adapter.submit(make("wan-2.2-t2v-plus/beijing", size="832x480", account="gone"))
    assert route.call_count == 1


async def test_a_job_whose_account_is_gone_is_left_alone(adapter: DashscopeWan) -> None:
    gone = Ticket(id=ID, data={"account": "old"})
    for call in (adapter.poll, adapter.cancel):
        with pytest.raises(Unavailable, match="no longer has the account"):
            await call(gone)


def test_readiness() -> None:
    none = build(accounts={})
    _, singapore = offer_of("wan-2.2-t2v-plus/singapore")
    _, beijing = offer_of("wan-2.2-t2v-plus/beijing")
    _, pictured = offer_of("wan-2.7-i2v/singapore")
    unready = none.unready(singapore, "standard")
    assert unready is not None
    assert unready.code == "no_credentials"
    assert "REELGATE_PLUGINS__DASHSCOPE_WAN__ACCOUNTS__DEFAULT__API_KEY" in unready.detail
    assert none.accounts == ("default",)

    one = build(accounts={"default": {"api_key": "sk-1"}}, inline_media=False)
    assert one.unready(singapore, "standard") is None
    elsewhere = one.unready(beijing, "standard")
    assert elsewhere is not None
    assert "no account in beijing" in elsewhere.detail
    assert "ACCOUNTS__BEIJING__API_KEY" in elsewhere.detail  # the default is another region's
    switched = one.unready(pictured, "standard")
    assert switched is not None
    assert (switched.code, "inline_media" in switched.detail) == ("switched_off", True)
    assert build().unready(pictured, "standard") is None

    own = Offer.model_validate(
        {"model": "wan-2.2-t2v-plus", "adapter": "dashscope_wan", "upstream": "lora-1"}
    )
    told = one.unready(own, "standard")
    assert told is not None
    assert told.code == "unknown_model"


def test_limits_are_the_operators_or_the_documented_ones() -> None:
    adapter = build(
        accounts={
            "default": {"api_key": "sk-1"},
            "big": {"api_key": "sk-2", "concurrent": 40, "submits_per_s": 10},
        }
    )
    assert adapter.accounts == ("default", "big")
    assert adapter.limits("default") == AccountLimits(concurrent=5, submits_per_s=2)
    assert adapter.limits("big") == AccountLimits(concurrent=40, submits_per_s=10)
    assert adapter.limits("unknown") == AccountLimits()


# --- what is refused here -------------------------------------------------------------------------

T2V = "wan-2.2-t2v-plus/singapore"


@pytest.mark.parametrize(
    ("job", "error", "said"),
    [
        ({"offer_id": T2V, "options": {"fps": 1}}, BadRequest, "options.dashscope_wan.fps"),
        ({"offer_id": T2V, "options": {"shot_type": "multi"}}, BadRequest, "shot_type"),
        (
            {"offer_id": "wan-2.6-t2v/singapore", "options": {"shot_type": "multi"}},
            BadRequest,
            "prompt_extend only",
        ),
        ({"offer_id": "wan-3.0-t2v/singapore", "options": {"prompt_extend": True}}, BadRequest, "no such"),
        ({"offer_id": T2V, "seed": 2**31}, Unsupported, "seed: .*2147483647"),
        ({"offer_id": T2V, "negative_prompt": "x" * 501}, Unsupported, "negative_prompt: .*500"),
        ({"offer_id": T2V, "size": "640x480"}, Unsupported, "not 640x480"),
        ({"offer_id": T2V, "seconds": "5.5"}, Unsupported, "duration"),
        ({"offer_id": T2V, "pictures": {"first_frame": FIRST}}, Unsupported, "takes no image"),
        ({"offer_id": "wan-2.2-i2v-plus/singapore"}, Unsupported, "first_frame"),
        (
            {
                "offer_id": "wan-2.2-i2v-plus/singapore",
                "pictures": {"first_frame": FIRST, "last_frame": LAST},
            },
            Unsupported,
            "no other image",
        ),
        (
            {"offer_id": "wan-2.2-kf2v-flash/beijing", "account": "cn", "pictures": {"first_frame": FIRST}},
            Unsupported,
            "last_frame",
        ),
        (
            {"offer_id": "wan-2.7-i2v/singapore", "pictures": {"last_frame": FIRST}},
            Unsupported,
            "first frame",
        ),
        (
            {
                "offer_id": "wan-3.0-i2v/singapore",
                "pictures": {"first_frame": FIRST, "reference": LAST},
            },
            Unsupported,
            "not both",
        ),
    ],
)
async def test_what_is_refused_before_anything_is_sent(
    respx_mock: respx.MockRouter,
    adapter: DashscopeWan,
    job: dict[str, Any],
    error: type[ProviderError],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        await adapter.submit(make(**job))
    assert not respx_mock.calls


# --- errors ---------------------------------------------------------------------------------------

ERRORS: list[tuple[int, str, str, type[ProviderError], type[ProviderError]]] = [
    # status, code, message, on create, on a look
    (400, "InvalidParameter", "size must be …", BadRequest, BadRequest),
    (400, "InvalidParameter", "url error, please check url", BadRequest, BadRequest),
    (400, "BadRequest.EmptyInput", "", BadRequest, BadRequest),
    (400, "BadRequest.EmptyParameters", "", BadRequest, BadRequest),
    (400, "BadRequest.EmptyModel", "", BadRequest, BadRequest),
    (400, "InvalidURL", "", BadRequest, BadRequest),
    (400, "UnsupportedOperation", "", BadRequest, BadRequest),
    (400, "InvalidParameter", "Model not exist.", ModelGone, ModelGone),
    (404, "ModelNotFound", "", ModelGone, ModelGone),
    (403, "Model.NotExist", "", ModelGone, ModelGone),
    (500, "Model.NotExist", "", ModelGone, ModelGone),
    (404, "WorkSpaceNotFound", "", NotAuthorised, NotAuthorised),
    (400, "DataInspectionFailed", "no", ContentBlocked, ContentBlocked),
    (400, "IPInfringementSuspect", "no", ContentBlocked, ContentBlocked),
    (400, "Arrearage", "", OutOfCredit, OutOfCredit),
    (401, "InvalidApiKey", "", NotAuthorised, NotAuthorised),
    (403, "AccessDenied", "", NotAuthorised, NotAuthorised),
    (403, "Workspace.AccessDenied", "", NotAuthorised, NotAuthorised),
    (403, "Model.AccessDenied", "", NotAuthorised, NotAuthorised),
    (403, "AccessDenied.Unpurchased", "", OutOfCredit, OutOfCredit),
    (403, "AllocationQuota.FreeTierOnly", "", OutOfCredit, OutOfCredit),
    (408, "RequestTimeOut", "", OutcomeUnknown, Unavailable),
    (413, "BadRequest.TooLarge", "", BadRequest, BadRequest),
    (415, "InputDownloadFailed", "", BadRequest, BadRequest),
    (415, "UnsupportedFileFormat", "", BadRequest, BadRequest),
    (429, "Throttling", "", RateLimited, RateLimited),
    (429, "Throttling.RateQuota", "", RateLimited, RateLimited),
    (429, "Throttling.BurstRate", "", RateLimited, RateLimited),
    (429, "LimitRequests", "", RateLimited, RateLimited),
    (429, "Throttling.AllocationQuota", "", RateLimited, RateLimited),
    (429, "PrepaidBillOverdue", "", OutOfCredit, OutOfCredit),
    (429, "PostpaidBillOverdue", "", OutOfCredit, OutOfCredit),
    (429, "CommodityNotPurchased", "", OutOfCredit, OutOfCredit),
    (500, "InternalError", "", OutcomeUnknown, Unavailable),
    (500, "InternalError.Algo", "", OutcomeUnknown, Unavailable),
    (500, "InternalError.Timeout", "", OutcomeUnknown, Unavailable),
    (500, "SystemError", "", OutcomeUnknown, Unavailable),
    (500, "ModelServiceFailed", "", OutcomeUnknown, Unavailable),
    (503, "ModelUnavailable", "", OutcomeUnknown, Unavailable),
    (503, "ServiceUnavailable", "", OutcomeUnknown, Unavailable),
    (504, "", "", OutcomeUnknown, Unavailable),
]


def snake(code: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in code).strip("_")


@pytest.mark.parametrize(("status", "code", "message", "on_create", "on_a_look"), ERRORS)
async def test_an_error(
    respx_mock: respx.MockRouter,
    adapter: DashscopeWan,
    status: int,
    code: str,
    message: str,
    on_create: type[ProviderError],
    on_a_look: type[ProviderError],
) -> None:
    flat = {"code": code, "message": message, "request_id": "1"}
    nested = {"error": {"code": snake(code), "message": message, "type": "x"}}
    answers = [(status, flat), (status, nested)]
    if code:
        answers.append((200, {"output": None, **flat}))
    for http, body in answers:
        respx_mock.post(f"{SINGAPORE}{CREATE}").respond(http, json=body)
        respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(http, json=body)
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(make(T2V, size="832x480"))
        assert type(caught.value) is on_create, (http, body)
        with pytest.raises(ProviderError) as caught:
            await adapter.poll(TICKET)
        assert type(caught.value) is on_a_look, (http, body)


@pytest.mark.parametrize("status", [408, 499, 500, 503])
@pytest.mark.parametrize("code", ["Throttling.RateQuota", "InvalidParameter", "Arrearage"])
async def test_a_status_that_proves_nothing_does_so_whatever_its_code(
    respx_mock: respx.MockRouter, adapter: DashscopeWan, status: int, code: str
) -> None:
    respx_mock.post(f"{SINGAPORE}{CREATE}").respond(status, json={"code": code, "message": ""})
    with pytest.raises(OutcomeUnknown):
        await adapter.submit(make(T2V, size="832x480"))


async def test_images_are_read_beside_the_loop_that_all_looks_share(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    respx_mock.post(f"{SINGAPORE}{CREATE}").respond(json=TAKEN)
    job, threads = make("wan-2.2-i2v-plus/singapore", pictures={"first_frame": FIRST}), set[int]()

    def read_image(image: InputImage) -> bytes:
        threads.add(threading.get_ident())
        return FIRST

    await adapter.submit(replace(job, read_image=read_image))
    assert threads
    assert threading.get_ident() not in threads


async def test_the_callers_are_told_of_their_input_and_not_of_our_account(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    for code, shown in (("InvalidParameter", True), ("DataInspectionFailed", True), ("Arrearage", False)):
        body = {"code": code, "message": "about account 4711"}
        respx_mock.post(f"{SINGAPORE}{CREATE}").respond(400, json=body)
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(make(T2V, size="832x480"))
        assert ("4711" in caught.value.caller_detail) == shown
        assert "4711" in caught.value.operator_detail


async def test_retry_after_is_passed_on(respx_mock: respx.MockRouter, adapter: DashscopeWan) -> None:
    answer = httpx.Response(429, json={"code": "Throttling"}, headers={"Retry-After": "7"})
    respx_mock.post(f"{SINGAPORE}{CREATE}").mock(return_value=answer)
    with pytest.raises(RateLimited) as caught:
        await adapter.submit(make(T2V, size="832x480"))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "body", [{}, {"output": {}}, {"code": "BrandNewCode", "output": None}, {"output": {"task_id": 5}}, []]
)
async def test_an_answer_that_names_no_task_proves_nothing(
    respx_mock: respx.MockRouter, adapter: DashscopeWan, body: Any
) -> None:
    respx_mock.post(f"{SINGAPORE}{CREATE}").respond(json=body)
    with pytest.raises(UnexpectedReply):
        await adapter.submit(make(T2V, size="832x480"))


async def test_a_lost_answer_leaves_it_open_and_shows_no_key(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    respx_mock.post(f"{SINGAPORE}{CREATE}").mock(side_effect=httpx.ReadTimeout("lost"))
    with pytest.raises(OutcomeUnknown) as caught:
        await adapter.submit(make(T2V, size="832x480"))
    assert KEYS["default"] not in "".join(traceback.format_exception(caught.value))
    assert KEYS["default"] not in repr(adapter.__dict__)
    assert len(respx_mock.calls) == 1


# --- looks ----------------------------------------------------------------------------------------


def done(usage: dict[str, Any], **output: Any) -> dict[str, Any]:
    return {
        "output": {"task_id": ID, "task_status": "SUCCEEDED", "video_url": "https://v/1.mp4", **output},
        "usage": usage,
        "something_new": {"nested": 1},
    }


def stands(status: str, **output: Any) -> dict[str, Any]:
    return {"output": {"task_id": ID, "task_status": status, **output}, "usage": None}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (stands("PENDING"), Queued()),
        (stands("SUSPENDED"), Queued()),
        (stands("RUNNING"), Running()),
        (stands("ARCHIVING"), Running()),
        (stands("CANCELED"), Stopped()),
        (
            done({"video_duration": 5, "video_ratio": "832*480", "video_count": 1}),
            Succeeded(url="https://v/1.mp4", usage=Usage(seconds=Decimal(5))),
        ),
        (
            done({"duration": 12, "input_video_duration": 2, "output_video_duration": 10, "SR": 720}),
            Succeeded(url="https://v/1.mp4", usage=Usage(seconds=Decimal(12))),
        ),
        (done({}), Succeeded(url="https://v/1.mp4")),
    ],
)
async def test_where_a_task_stands(
    respx_mock: respx.MockRouter, adapter: DashscopeWan, reply: dict[str, Any], expected: Snapshot
) -> None:
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(json=reply)
    assert await adapter.poll(TICKET) == expected


@pytest.mark.parametrize(
    ("output", "code", "user_fault"),
    [
        ({"code": "DataInspectionFailed", "message": "no"}, "content_blocked", True),
        ({"code": "InvalidURL", "message": "no"}, "bad_request", True),
        ({"code": "InternalError.Algo", "message": "oh"}, "gave_up", False),
        ({"code": "BrandNewCode"}, "gave_up", False),
        ({}, "gave_up", False),
    ],
)
async def test_a_failed_task_is_free(
    respx_mock: respx.MockRouter,
    adapter: DashscopeWan,
    output: dict[str, str],
    code: str,
    user_fault: bool,
) -> None:
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(json=stands("FAILED", **output))
    found = await adapter.poll(TICKET)
    assert isinstance(found, Failed)
    assert (found.code, found.user_fault, found.billed) == (code, user_fault, False)
    assert output.get("message", "no reason given") in found.message


async def test_a_task_that_is_forgotten_is_over_and_may_be_billed(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(json=stands("UNKNOWN"))
    found = await adapter.poll(TICKET)
    assert isinstance(found, Failed)
    assert (found.code, found.user_fault, found.billed) == ("job_lost", False, True)
    assert "24 hours" in found.message


async def test_a_success_without_a_url_is_none(respx_mock: respx.MockRouter, adapter: DashscopeWan) -> None:
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{ID}").respond(json=stands("SUCCEEDED"))
    with pytest.raises(UnexpectedReply):
        await adapter.poll(TICKET)


async def test_cancel(respx_mock: respx.MockRouter, adapter: DashscopeWan) -> None:
    route = respx_mock.post(f"{SINGAPORE}/api/v1/tasks/{ID}/cancel")
    route.respond(json={"request_id": "1"})
    assert await adapter.cancel(TICKET) is True
    assert route.calls.last.request.content == b""
    route.respond(400, json={"code": "UnsupportedOperation", "message": "not PENDING"})
    assert await adapter.cancel(TICKET) is False
    route.respond(200, json={"code": "Throttling", "message": ""})
    with pytest.raises(RateLimited):
        await adapter.cancel(TICKET)
    route.respond(500, json={"code": "InternalError", "message": ""})
    with pytest.raises(Unavailable):
        await adapter.cancel(TICKET)


# --- lookup ---------------------------------------------------------------------------------------


def listed(*ids: str, total: int | None = None) -> dict[str, Any]:
    tasks = [{"task_id": id, "task_status": "SUCCEEDED"} for id in ids]
    return {"page_no": 1, "page_size": 100, "total": len(ids) if total is None else total, "tasks": tasks}


USAGE = {"video_duration": 5, "video_ratio": "832*480", "video_count": 1}
LONG = "a kite " * 200  # 1,400 characters: over the 800 of Wan 2.2

LOOKUPS: list[tuple[str, list[dict[str, Any]], list[int]]] = [
    ("none is there", [], []),
    ("its prompt", [done(USAGE, orig_prompt="a red kite over dunes")], [0]),
    ("another prompt", [done(USAGE, orig_prompt="a red kite")], []),
    ("a longer prompt", [done(USAGE, orig_prompt="a red kite over dunes and sea")], []),
    ("another length", [done({**USAGE, "video_duration": 10}, orig_prompt="a red kite over dunes")], []),
    ("another size", [done({**USAGE, "video_ratio": "480*832"}, orig_prompt="a red kite over dunes")], []),
    ("still silent", [stands("RUNNING"), done(USAGE, orig_prompt="a red kite over dunes")], [1]),
    ("expired meanwhile", [stands("UNKNOWN")], []),
    ("two of them", [done(USAGE, orig_prompt="a red kite over dunes")] * 2, [0, 1]),
]


@pytest.mark.parametrize(("name", "tasks", "matching"), LOOKUPS, ids=lambda one: str(one)[:20])
async def test_a_lost_job_is_found_by_what_it_asked_for(
    respx_mock: respx.MockRouter,
    adapter: DashscopeWan,
    name: str,
    tasks: list[dict[str, Any]],
    matching: list[int],
) -> None:
    ids = [f"task-{index}" for index in range(len(tasks))]
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks").respond(json=listed(*ids))
    for id, task in zip(ids, tasks, strict=True):
        respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{id}").respond(json=task)
    job = make(T2V, size="832x480")
    if len(matching) > 1:
        with pytest.raises(OutcomeUnknown, match="2 tasks with this prompt") as caught:
            await adapter.lookup(job)
        assert all(ids[index] in caught.value.operator_detail for index in matching)
        return
    found = await adapter.lookup(job)
    assert found == (Ticket(id=ids[matching[0]], data={"account": "default"}) if matching else None)


async def test_a_clip_of_another_resolution_is_another_job(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    usage = {"duration": 5, "output_video_duration": 5, "SR": 1080, "ratio": "16:9"}
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks").respond(json=listed("a", "b"))
    other = done(usage, orig_prompt="a red kite over dunes")
    mine = done({**usage, "SR": 720}, orig_prompt="a red kite over dunes")
    for id, task in (("a", other), ("b", mine)):
        respx_mock.get(f"{SINGAPORE}/api/v1/tasks/{id}").respond(json=task)
    found = await adapter.lookup(make("wan-2.7-t2v/singapore", size="1280x720", audio=True))
    assert found is not None
    assert found.id == "b"


async def test_a_prompt_that_was_cut_is_known_again(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks").respond(json=listed("a", "b"))
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/a").respond(json=done(USAGE, orig_prompt=LONG[:800]))
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/b").respond(json=done(USAGE, orig_prompt=LONG[:700]))
    found = await adapter.lookup(make(T2V, size="832x480", prompt=LONG))
    assert found is not None
    assert found.id == "a"


async def test_the_list_is_asked_for_the_model_and_the_time_since_the_plan(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    route = respx_mock.get(f"{SINGAPORE}/api/v1/tasks").respond(json=listed())
    before = datetime.now(UTC)
    assert await adapter.lookup(replace(make(T2V, size="832x480"), planned_at=before)) is None
    query = dict(route.calls.last.request.url.params)
    start, end = query.pop("start_time"), query.pop("end_time")
    assert query == {"model_name": "wan2.2-t2v-plus", "page_no": "1", "page_size": "100"}
    beijing = before + timedelta(hours=8)
    assert abs(datetime.strptime(f"{start}+0000", "%Y%m%d%H%M%S%z") - beijing) < timedelta(minutes=2)
    assert datetime.strptime(f"{end}+0000", "%Y%m%d%H%M%S%z") > beijing


async def test_pages_are_read_to_the_end_and_not_without_end(
    respx_mock: respx.MockRouter, adapter: DashscopeWan
) -> None:
    full = [f"task-{index}" for index in range(100)]
    pages = respx_mock.get(f"{SINGAPORE}/api/v1/tasks")
    pages.mock(
        side_effect=[
            httpx.Response(200, json=listed(*full, total=101)),
            httpx.Response(200, json=listed("task-99", "mine", total=101)),  # one moved on
        ]
    )
    respx_mock.get(url__regex=r".*/tasks/task-\d+$").respond(json=stands("FAILED"))
    respx_mock.get(f"{SINGAPORE}/api/v1/tasks/mine").respond(
        json=done(USAGE, orig_prompt="a red kite over dunes")
    )
    found = await adapter.lookup(make(T2V, size="832x480"))
    assert found is not None
    assert found.id == "mine"

    others = [f"other-{index}" for index in range(100)]
    pages.mock(
        side_effect=[
            httpx.Response(200, json=listed(*full, total=500)),
            httpx.Response(200, json=listed(*others, total=500)),
        ]
    )
    with pytest.raises(OutcomeUnknown, match="too many tasks"):
        await adapter.lookup(make(T2V, size="832x480"))


def test_a_task_that_a_person_found_can_be_gone_on_with(adapter: DashscopeWan) -> None:
    assert adapter.ticket(make(T2V), ID) == TICKET
    assert adapter.ticket(make("wan-2.2-t2v-plus/beijing", account="cn"), ID).data == {"account": "cn"}
    for senseless in ("", "tasks/../x", f"{ID} "):
        with pytest.raises(BadRequest, match="no id of a task"):
            adapter.ticket(make(T2V), senseless)


def test_no_list_goes_back_more_than_a_day() -> None:
    now = datetime(2026, 11, 20, 2, 0, 0, tzinfo=UTC)
    day = {"start_time": "20261119095900", "end_time": "20261120100100"}
    assert window(None, now) == day
    assert window(now - timedelta(days=2), now) == day
