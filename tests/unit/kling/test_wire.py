"""What leaves for Kling, byte for byte, and what its answers mean."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import respx

from adapters.kling._account import mint
from adapters.kling._wire import NoSuchTask, WrongParameter
from gateway.spec import (
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
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)

from ._jobs import KEY, OFFERS, SINGAPORE, adapter, job

FIRST, BOTH = ("first_frame",), ("first_frame", "last_frame")
PROMPT = "a red fox runs through snow"
LEGACY = Ticket(id="8731", data={"account": "default", "path": "/v1/videos/text2video"})
NEW = Ticket(id="871", data={"account": "default", "path": "/tasks"})


def ok(data: Any) -> httpx.Response:
    return httpx.Response(200, json={"code": 0, "message": "SUCCEED", "request_id": "r", "data": data})


def refused(status: int, code: int, message: str = "no", **headers: str) -> httpx.Response:
    body = {"code": code, "message": message, "request_id": "r"}
    return httpx.Response(status, json=body, headers=headers)


def b64(ordered: Any, index: int) -> str:
    return base64.b64encode(ordered.read_image(ordered.request.images[index])).decode()


async def sent(ordered: Any, path: str, **account: Any) -> httpx.Request:
    """The one request that leaves for a job."""
    kling = adapter(**account)
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.post(path).mock(return_value=ok({"task_id": "8731", "id": "871"}))
        await kling.submit(ordered)
        (call,) = wire.calls
    return call.request


async def test_a_text_to_video_order_of_2026_byte_for_byte() -> None:
    ordered = job("kling-3.0", resolution="720p", callback_url="https://gate.example/hooks/kling/t0k")
    request = await sent(ordered, "/text-to-video/kling-3.0")
    assert request.content == (
        b'{"prompt":"a red fox runs through snow",'
        b'"settings":{"resolution":"720p","aspect_ratio":"16:9","duration":5,"audio":"off","multi_shot":false},'
        b'"options":{"external_task_id":"att_01","callback_url":"https://gate.example/hooks/kling/t0k"}}'
    )
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"


async def test_an_older_text_to_video_order_byte_for_byte() -> None:
    ordered = job("kling-v2-6", callback_url="https://gate.example/h")
    request = await sent(ordered, "/v1/videos/text2video")
    assert request.content == (
        b'{"model_name":"kling-v2-6","prompt":"a red fox runs through snow","mode":"pro","sound":"off",'
        b'"duration":"5","aspect_ratio":"16:9","callback_url":"https://gate.example/h",'
        b'"external_task_id":"att_01"}'
    )
    assert request.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("upstream", "given", "settings"),
    [
        ("kling-2.5-turbo", {"resolution": "720p"}, {"resolution": "720p", "duration": 5}),
        ("kling-2.6", {"audio": True}, {"resolution": "1080p", "duration": 5, "audio": "native"}),
        ("kling-2.6", {"seconds": "10"}, {"resolution": "1080p", "duration": 10, "audio": "off"}),
        (
            "kling-3.0",
            {"resolution": "4k", "audio": True, "seconds": "15"},
            {"resolution": "4k", "duration": 15, "audio": "native", "multi_shot": False},
        ),
        (
            "kling-3.0",
            {"options": {"multi_shot": True}},
            {"resolution": "1080p", "duration": 5, "audio": "off", "multi_shot": True},
        ),
        ("kling-3.0-turbo", {"audio": True, "seconds": "3"}, {"resolution": "1080p", "duration": 3}),
    ],
)
async def test_what_a_model_has_no_parameter_for_is_not_sent(
    upstream: str, given: dict[str, Any], settings: dict[str, Any]
) -> None:
    request = await sent(job(upstream, portrait=True, **given), f"/text-to-video/{upstream}")
    assert json.loads(request.content)["settings"] == {**settings, "aspect_ratio": "9:16"}


@pytest.mark.parametrize(
    ("upstream", "given", "shape"),
    [
        ("kling-v2-master", {}, {"mode": "pro"}),
        ("kling-v2-master", {"negative_prompt": "rain"}, {"mode": "pro", "negative_prompt": "rain"}),
        ("kling-v2-5-turbo", {"resolution": "720p", "negative_prompt": "rain"}, {"mode": "std"}),
        ("kling-v2-6", {"audio": True}, {"mode": "pro", "sound": "on"}),
        ("kling-v3", {"resolution": "4k"}, {"mode": "4k", "sound": "off"}),
        ("kling-v3", {"resolution": "720p", "audio": True}, {"mode": "std", "sound": "on"}),
    ],
)
async def test_the_older_modes_and_sound(upstream: str, given: dict[str, Any], shape: dict[str, Any]) -> None:
    request = await sent(job(upstream, **given), "/v1/videos/text2video")
    assert json.loads(request.content) == {
        "model_name": upstream,
        "prompt": PROMPT,
        "duration": "5",
        "aspect_ratio": "16:9",
        "external_task_id": "att_01",
        **shape,
    }


@pytest.mark.parametrize("roles", [FIRST, BOTH])
async def test_frames_of_2026_are_contents_and_set_the_shape(roles: tuple[Any, ...]) -> None:
    ordered = job("kling-3.0", *roles)
    body = json.loads((await sent(ordered, "/image-to-video/kling-3.0")).content)
    frames = [{"type": role, "url": b64(ordered, index)} for index, role in enumerate(roles)]
    assert body == {
        "contents": [{"type": "prompt", "text": PROMPT}, *frames],
        "settings": {"resolution": "1080p", "duration": 5, "audio": "off", "multi_shot": False},
        "options": {"external_task_id": "att_01"},
    }


@pytest.mark.parametrize("roles", [FIRST, BOTH])
async def test_older_frames_are_bare_base64(roles: tuple[Any, ...]) -> None:
    ordered = job("kling-v3", *roles)
    body = json.loads((await sent(ordered, "/v1/videos/image2video")).content)
    names = {"first_frame": "image", "last_frame": "image_tail"}
    frames = {names[role]: b64(ordered, index) for index, role in enumerate(roles)}
    assert body == {
        "model_name": "kling-v3",
        "prompt": PROMPT,
        "mode": "pro",
        "sound": "off",
        "duration": "5",
        "external_task_id": "att_01",
        **frames,
    }


async def test_omni_takes_references_and_keeps_the_shape_unless_a_first_frame_sets_it() -> None:
    ordered = job("kling-3.0-omni", "reference", "reference", audio=True)
    body = json.loads((await sent(ordered, "/omni-video/kling-3.0-omni")).content)
    assert body == {
        "contents": [
            {"type": "prompt", "text": PROMPT},
            {"type": "refer_image", "url": b64(ordered, 0)},
            {"type": "refer_image", "url": b64(ordered, 1)},
        ],
        "settings": {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 5, "audio": "native"},
        "options": {"external_task_id": "att_01"},
    }
    framed = json.loads((await sent(job("kling-3.0-omni", *BOTH), "/omni-video/kling-3.0-omni")).content)
    assert [part["type"] for part in framed["contents"]] == ["prompt", "first_frame", "last_frame"]
    assert framed["settings"] == {"resolution": "1080p", "duration": 5, "audio": "off"}


async def test_omni_is_told_of_single_shots_only_where_the_operator_says_so() -> None:
    settings = {"accounts": {"default": {"api_key": KEY}}, "omni_multi_shot": True}
    with respx.mock(base_url=SINGAPORE) as wire:
        route = wire.post("/omni-video/kling-3.0-omni").mock(return_value=ok({"id": "871"}))
        await adapter(settings).submit(job("kling-3.0-omni"))
    assert json.loads(route.calls[0].request.content)["settings"]["multi_shot"] is False


@pytest.mark.parametrize(
    ("ordered", "error", "said"),
    [
        (job("kling-2.6", resolution="720p", audio=True), Unsupported, "sound at 1080p only"),
        (job("kling-v2-6", resolution="720p", audio=True), Unsupported, "sound at 1080p only"),
        (job("kling-2.6", *BOTH, resolution="720p"), Unsupported, "last frame at 1080p only"),
        (job("kling-2.6", *BOTH, audio=True), Unsupported, "last frame without sound"),
        (job("kling-2.5-turbo", *BOTH, resolution="720p"), Unsupported, "last frame at 1080p only"),
        (job("kling-3.0-turbo", *BOTH), Unsupported, "no last frame"),
        (job("kling-v2-1", *BOTH), Unsupported, "no last frame"),
        (job("kling-3.0", "last_frame"), Unsupported, "beside a first one"),
        (job("kling-3.0", "reference"), Unsupported, "no reference"),
        (job("kling-3.0-omni", *["reference"] * 7, "first_frame"), Unsupported, "7 images"),
        (job("kling-3.0-omni", options={"multi_shot": True}), Unsupported, "multi_shot"),
        (job("kling-v3", options={"multi_shot": True}), Unsupported, "multi_shot"),
        (job("kling-v2-1", *FIRST, negative_prompt="a" * 2501), Unsupported, "2500 characters"),
        (job("kling-v3", prompt="a" * 2501), Unsupported, "2500 characters"),
        (job("kling-3.0", seconds="16"), BadRequest, "duration"),
        (job("kling-3.0", seconds="4.5"), BadRequest, "duration"),
        (job("kling-v3", seconds="4.5"), BadRequest, "duration"),
    ],
)
async def test_what_does_not_go_together_never_leaves(
    ordered: Any, error: type[ProviderError], said: str
) -> None:
    with respx.mock(base_url=SINGAPORE, assert_all_called=False) as wire:
        wire.route().mock(return_value=ok({"id": "871"}))
        with pytest.raises(error, match=said):
            await adapter().submit(ordered)
        assert not wire.calls


@pytest.mark.parametrize(("upstream", "most"), [("kling-v3", 10_000_000), ("kling-3.0", 50_000_000)])
async def test_an_image_that_is_too_large_never_leaves(upstream: str, most: int) -> None:
    large = replace(job(upstream, *FIRST), read_image=lambda image: bytes(most + 1))
    with respx.mock, pytest.raises(Unsupported, match=f"{most:,} bytes at most"):
        await adapter().submit(large)


def test_the_token_is_the_documented_vector() -> None:
    assert mint("ak-test", "sk-test", 1_700_000_000) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
        ".eyJpc3MiOiJhay10ZXN0IiwiZXhwIjoxNzAwMDAxODAwLCJuYmYiOjE2OTk5OTk5OTV9"
        ".tMljlG8Xy1G8AKj5WkEZRcRIADvbH0FP6wgzpwHAfs4"
    )


async def test_a_token_is_kept_minted_anew_before_it_ends_and_after_1004() -> None:
    pair = {"access_key": "ak-test", "secret_key": "sk-test"}
    kling = adapter({"accounts": {"default": pair}})
    (account,) = kling._accounts.values()
    clock = [1_700_000_000.0]
    account._now = lambda: clock[0]
    with respx.mock(base_url=SINGAPORE) as wire:
        route = wire.get("/v1/videos/text2video/8731")
        route.mock(return_value=ok({"task_id": "8731", "task_status": "processing"}))
        for at in (0, 1499, 1500):
            clock[0] = 1_700_000_000.0 + at
            await kling.poll(LEGACY)
        clock[0] += 10
        route.mock(return_value=refused(401, 1004))
        with pytest.raises(Unavailable, match="the next call has a new one"):
            await kling.poll(LEGACY)
        route.mock(return_value=ok({"task_id": "8731", "task_status": "processing"}))
        await kling.poll(LEGACY)
        tokens = [call.request.headers["Authorization"].removeprefix("Bearer ") for call in route.calls]
    minted = [mint("ak-test", "sk-test", 1_700_000_000 + at) for at in (0, 0, 1500, 1500, 1510)]
    assert tokens == minted


ERRORS: list[tuple[int, int, type[ProviderError], type[ProviderError]]] = [
    # HTTP status, code, what it is on a create, and on a poll
    (401, 1000, NotAuthorised, NotAuthorised),
    (401, 1001, NotAuthorised, NotAuthorised),
    (401, 1002, NotAuthorised, NotAuthorised),
    (401, 1003, NotAuthorised, NotAuthorised),
    (401, 1004, NotAuthorised, NotAuthorised),
    (429, 1100, OutOfCredit, OutOfCredit),
    (429, 1101, OutOfCredit, OutOfCredit),
    (429, 1102, OutOfCredit, OutOfCredit),
    (403, 1103, NotAuthorised, NotAuthorised),
    (400, 1200, BadRequest, UnexpectedReply),
    (400, 1201, WrongParameter, UnexpectedReply),
    (404, 1202, BadRequest, UnexpectedReply),
    (404, 1203, ModelGone, UnexpectedReply),
    (400, 1300, ContentBlocked, UnexpectedReply),
    (400, 1301, ContentBlocked, UnexpectedReply),
    (429, 1302, RateLimited, RateLimited),
    (429, 1303, RateLimited, RateLimited),
    (429, 1304, NotAuthorised, NotAuthorised),
    (500, 5000, OutcomeUnknown, Unavailable),
    (503, 5001, OutcomeUnknown, Unavailable),
    (504, 5002, OutcomeUnknown, Unavailable),
    (429, 9999, RateLimited, RateLimited),
    (400, 9999, BadRequest, UnexpectedReply),
    (500, 9999, OutcomeUnknown, Unavailable),
]


@pytest.mark.parametrize(("status", "code", "on_create", "on_poll"), ERRORS)
@pytest.mark.parametrize("with_200", [False, True])
async def test_an_error_is_told_by_its_code_whatever_the_http_status(
    status: int, code: int, on_create: type[ProviderError], on_poll: type[ProviderError], with_200: bool
) -> None:
    if with_200 and code == 9999:
        on_create = on_poll = UnexpectedReply
    answer = refused(200 if with_200 else status, code)
    kling = adapter()
    with respx.mock(base_url=SINGAPORE, assert_all_called=False) as wire:
        wire.post("/v1/videos/text2video").mock(return_value=answer)
        wire.get("/v1/videos/text2video/8731").mock(return_value=answer)
        wire.get(path__startswith="/v1/videos/text2video").mock(return_value=ok([]))
        with pytest.raises(ProviderError) as created:
            await kling.submit(job("kling-v3"))
        with pytest.raises(ProviderError) as polled:
            await kling.poll(LEGACY)
    assert type(created.value) is on_create
    assert isinstance(polled.value, on_poll)
    assert KEY not in created.value.operator_detail


async def test_a_full_pack_says_how_long_to_wait_and_a_refusal_says_why() -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        route = wire.post("/text-to-video/kling-2.6")
        route.mock(return_value=refused(429, 1303, **{"Retry-After": "7"}))
        with pytest.raises(RateLimited, match="resource pack allows") as full:
            await adapter().submit(job("kling-2.6"))
        assert full.value.retry_after == 7
        route.mock(return_value=refused(400, 1301, "the prompt is sensitive"))
        with pytest.raises(ContentBlocked, match="the prompt is sensitive"):
            await adapter().submit(job("kling-2.6"))


async def test_images_are_read_beside_the_loop_that_watches_all_jobs() -> None:
    ordered = job("kling-3.0", *FIRST)
    read_in: list[int] = []

    def read(image: Any) -> bytes:
        read_in.append(threading.get_ident())
        return ordered.read_image(image)

    await sent(replace(ordered, read_image=read), "/image-to-video/kling-3.0")
    assert threading.get_ident() not in read_in
    assert read_in


async def test_a_wrong_parameter_is_not_said_before_it_is_sure_that_it_is_not_our_id() -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.post("/text-to-video/kling-2.6").mock(return_value=refused(400, 1201))
        look = wire.get("/tasks", params={"external_task_ids": "att_01"})
        look.mock(return_value=ok([{"id": "871", "external_id": "att_01"}]))
        assert await adapter().submit(job("kling-2.6")) == NEW
        look.mock(return_value=refused(503, 5001))
        with pytest.raises(OutcomeUnknown, match="not sent again"):
            await adapter().submit(job("kling-2.6"))


async def test_an_answer_without_an_id_is_no_ticket() -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.post("/text-to-video/kling-2.6").mock(return_value=ok({"status": "submitted"}))
        with pytest.raises(UnexpectedReply, match="no id"):
            await adapter().submit(job("kling-2.6"))


LEGACY_TASKS = [
    ({"task_status": "submitted"}, Queued()),
    ({"task_status": "processing"}, Running()),
    ({"task_status": "paused"}, Running()),
    ({"task_status": None}, Running()),
    (
        {
            "task_status": "succeed",
            "final_unit_deduction": "2.5",
            "task_result": {"videos": [{"id": "v", "url": "https://cdn.example/a.mp4", "duration": "5.041"}]},
        },
        Succeeded(url="https://cdn.example/a.mp4"),
    ),
    (
        {"task_status": "failed", "task_status_msg": "risk control", "final_unit_deduction": "0"},
        Failed(code="gave_up", message="Kling gave the job up. It said: risk control"),
    ),
    (
        {"task_status": "failed", "final_unit_deduction": "2.5"},
        Failed(code="gave_up", message="Kling gave the job up. It gave no reason.", billed=True),
    ),
]

NEW_TASKS = [
    ({"status": "submitted", "message": ""}, Queued()),
    ({"status": "processing"}, Running()),
    ({"status": "rethinking"}, Running()),
    (
        {
            "status": "succeeded",
            "outputs": [{"type": "cover", "url": "x"}, {"type": "video", "url": "https://cdn.example/b.mp4"}],
            "billing": [{"charge_type": "unit", "amount": "2.5"}],
        },
        Succeeded(url="https://cdn.example/b.mp4"),
    ),
    (
        {"status": "failed", "message": "render error", "billing": [{"charge_type": "cash", "amount": 0}]},
        Failed(code="gave_up", message="Kling gave the job up. It said: render error"),
    ),
    (
        {"status": "failed", "billing": [{"charge_type": "cash", "amount": "0.35"}]},
        Failed(code="gave_up", message="Kling gave the job up. It gave no reason.", billed=True),
    ),
]


@pytest.mark.parametrize(("task", "snapshot"), LEGACY_TASKS)
async def test_an_older_task(task: dict[str, Any], snapshot: Any) -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/v1/videos/text2video/8731").mock(return_value=ok({"task_id": "8731", **task}))
        assert await adapter().poll(LEGACY) == snapshot


@pytest.mark.parametrize(("task", "snapshot"), NEW_TASKS)
async def test_a_task_of_2026(task: dict[str, Any], snapshot: Any) -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks", params={"task_ids": "871"}).mock(return_value=ok([{"id": "871", **task}]))
        assert await adapter().poll(NEW) == snapshot


@pytest.mark.parametrize(
    ("reason", "code"),
    [("Failure to pass the risk control system", "content_blocked"), ("out of memory", "gave_up")],
)
async def test_a_failures_text_is_read_only_where_the_operator_says_so(reason: str, code: str) -> None:
    kling = adapter({"accounts": {"default": {"api_key": KEY}}, "failure_words": True})
    task = {"id": "871", "status": "failed", "message": reason}
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks", params={"task_ids": "871"}).mock(return_value=ok([task]))
        seen = await kling.poll(NEW)
    assert isinstance(seen, Failed)
    assert (seen.code, seen.user_fault) == (code, code == "content_blocked")


@pytest.mark.parametrize(
    ("ticket", "data", "said"),
    [
        (NEW, [{"id": "871", "status": "succeeded", "outputs": []}], "names no clip"),
        (NEW, [], "does not show the task 871"),
        (NEW, None, "does not show the task 871"),
        (NEW, {"id": "871"}, "documented shape"),
        (LEGACY, {}, "does not show the task 8731"),
        (LEGACY, {"task_status": "succeed"}, "names no clip"),
    ],
)
async def test_an_answer_outside_the_documentation_leaves_the_job_as_it_was(
    ticket: Ticket, data: Any, said: str
) -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get().mock(return_value=ok(data))
        with pytest.raises(UnexpectedReply, match=said):
            await adapter().poll(ticket)


async def test_many_are_asked_for_at_once_and_answered_in_order() -> None:
    places = [*(f"{index}" for index in range(51)), "8731", "gone"]
    tickets = [replace_id(LEGACY if id == "8731" else NEW, id) for id in places]
    with respx.mock(base_url=SINGAPORE) as wire:
        legacy = wire.get("/v1/videos/text2video/8731").mock(return_value=refused(500, 5000))
        tasks = wire.get("/tasks").mock(side_effect=show_all_but("gone"))
        seen = await adapter().poll_many(tickets)
    assert legacy.call_count == 1
    asked = sorted(call.request.url.params["task_ids"] for call in tasks.calls)
    assert asked == sorted([",".join(places[:50]), "50,gone"])
    assert [type(one) for one in seen[:51]] == [Running] * 51
    assert isinstance(seen[51], Unavailable)
    assert isinstance(seen[52], UnexpectedReply)


async def test_one_that_kling_does_not_know_does_not_hide_the_others() -> None:
    """What Kling answers about an unknown id is not documented: here it refuses the whole query."""

    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params["task_ids"].split(",")
        if "gone" in ids:
            return refused(404, 1203)
        return ok([{"id": id, "status": "processing"} for id in ids])

    places = ["1", "2", "gone", "4", "5"]
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(side_effect=answer)
        seen = await adapter().poll_many([replace_id(NEW, id) for id in places])
    assert [type(one) for one in seen] == [Running, Running, NoSuchTask, Running, Running]


async def test_nor_does_one_that_is_shown_in_another_shape() -> None:
    tasks = [{"id": 1, "status": "processing"}, {"id": "2", "status": "succeeded", "outputs": "none"}]
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(return_value=ok(tasks))
        seen = await adapter().poll_many([replace_id(NEW, "1"), replace_id(NEW, "2")])
    assert seen[0] == Running()
    assert isinstance(seen[1], UnexpectedReply)
    assert "outputs" in seen[1].operator_detail


def replace_id(ticket: Ticket, id: str) -> Ticket:
    return ticket.model_copy(update={"id": id})


def show_all_but(*gone: str) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params["task_ids"].split(",")
        return ok([{"id": id, "status": "processing"} for id in reversed(ids) if id not in gone])

    return answer


async def test_there_is_no_way_to_cancel_and_nothing_is_sent() -> None:
    with respx.mock(base_url=SINGAPORE, assert_all_called=False) as wire:
        assert await adapter().cancel(NEW) is False
        assert not wire.calls


async def test_a_task_of_2026_is_found_by_our_id() -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks", params={"external_task_ids": "att_01"}).mock(
            return_value=ok([{"id": "871", "external_id": "att_01"}, {"id": "9", "external_id": "other"}])
        )
        assert await adapter().lookup(job("kling-3.0")) == NEW


async def test_where_that_fails_it_is_found_in_the_list_page_by_page() -> None:
    first = {"result": [{"id": "1", "external_id": "x"}], "next_cursor": "c2", "has_more": True}
    second = {"result": [{"id": "871", "external_id": "att_01"}], "next_cursor": "", "has_more": False}
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(return_value=refused(404, 1203))
        listing = wire.post("/tasks").mock(side_effect=[ok(first), ok(second)])
        assert await adapter().lookup(job("kling-3.0")) == NEW
    bodies = [json.loads(call.request.content) for call in listing.calls]
    assert [body.pop("cursor", None) for body in bodies] == [None, "c2"]
    assert bodies[0] == bodies[1]
    assert bodies[0]["limit"] == 500


async def test_the_list_is_asked_for_the_time_since_the_attempt_was_planned() -> None:
    """A busy account makes more tasks in 30 days than are looked through, in no documented order."""
    kling = adapter({"accounts": {"default": {"api_key": KEY}}})
    kling._now = lambda: 1_790_000_060.0
    planned = replace(job("kling-3.0"), planned_at=datetime.fromtimestamp(1_790_000_000, UTC))
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(return_value=ok([]))
        listing = wire.post("/tasks").mock(return_value=ok(NOTHING["kling-3.0"]))
        assert await kling.lookup(planned) is None
        assert await kling.lookup(replace(planned, planned_at=None)) is None
    assert [json.loads(call.request.content) for call in listing.calls] == [
        {"start_time": 1_789_999_400_000, "end_time": 1_790_000_060_000, "limit": 500},
        {"limit": 500},
    ]


async def test_a_list_that_tells_of_another_page_is_not_at_its_end() -> None:
    first = {"result": [], "next_cursor": "c2"}
    second = {"result": [{"id": "871", "external_id": "att_01"}]}
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(return_value=ok([]))
        wire.post("/tasks").mock(side_effect=[ok(first), ok(second)])
        assert await adapter().lookup(job("kling-3.0")) == NEW


async def test_an_older_task_is_found_by_our_id_then_in_its_own_list() -> None:
    with respx.mock(base_url=SINGAPORE) as wire:
        asked = wire.get("/v1/videos/text2video/att_01")
        asked.mock(return_value=ok({"task_id": "8731", "task_info": {"external_task_id": "att_01"}}))
        assert await adapter().lookup(job("kling-v3")) == LEGACY
        asked.mock(return_value=refused(400, 1201))
        tasks = [{"task_id": "8731", "task_info": {"external_task_id": "att_01"}}]
        listing = wire.get("/v1/videos/text2video", params={"pageNum": "1", "pageSize": "500"})
        listing.mock(return_value=ok(tasks))
        assert await adapter().lookup(job("kling-v3")) == LEGACY


NOTHING = {"kling-3.0": {"result": [], "has_more": False}, "kling-v3": []}
FULL = [{"task_id": str(n), "id": str(n)} for n in range(500)]
ENDLESS = {"kling-3.0": {"result": FULL, "next_cursor": "more", "has_more": True}, "kling-v3": FULL}


@pytest.mark.parametrize("upstream", ["kling-3.0", "kling-v3"])
async def test_none_is_said_only_when_the_whole_list_was_seen(upstream: str) -> None:
    with respx.mock(base_url=SINGAPORE, assert_all_called=False) as wire:
        wire.get("/tasks").mock(return_value=ok([]))
        wire.get("/v1/videos/text2video/att_01").mock(return_value=ok(None))
        listing = wire.route(path__regex="^/tasks$|^/v1/videos/text2video$")
        listing.mock(return_value=ok(NOTHING[upstream]))
        assert await adapter().lookup(job(upstream)) is None
        assert listing.call_count == 1
        listing.mock(return_value=ok(ENDLESS[upstream]))
        with pytest.raises(OutcomeUnknown, match="5,000"):
            await adapter().lookup(job(upstream))
        assert listing.call_count == 11


async def test_two_with_our_id_are_for_a_person() -> None:
    twice = [{"id": "1", "external_id": "att_01"}, {"id": "2", "external_id": "att_01"}]
    with respx.mock(base_url=SINGAPORE) as wire:
        wire.get("/tasks").mock(return_value=ok(twice))
        with pytest.raises(OutcomeUnknown, match="1, 2"):
            await adapter().lookup(job("kling-3.0"))


VECTOR_AT = 1_781_080_794.0
VECTOR_SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
VECTOR_HEADERS = {
    "Webhook-Id": "9876543210",
    "Webhook-Timestamp": "1781080794",
    "Webhook-Signature": "v1,b3RoZXI= v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
VECTOR_BODY = (
    b'{"id":"1234567890","status":"succeeded","message":"",'
    b'"create_time":1781080778802,"update_time":1781080794151}'
)


def listening(secret: str | None, at: float) -> Any:
    kling = adapter(webhook_secret=secret)
    kling._now = lambda: at
    return kling


def test_a_signed_callback_is_the_documented_vector() -> None:
    assert listening(VECTOR_SECRET, VECTOR_AT).parse_webhook(VECTOR_HEADERS, VECTOR_BODY) == ["1234567890"]
    assert listening(VECTOR_SECRET, VECTOR_AT + 300).parse_webhook(VECTOR_HEADERS, VECTOR_BODY)


@pytest.mark.parametrize(
    ("headers", "body", "at"),
    [
        (VECTOR_HEADERS, VECTOR_BODY.replace(b"1234567890", b"1234567891"), VECTOR_AT),
        ({**VECTOR_HEADERS, "Webhook-Id": "1"}, VECTOR_BODY, VECTOR_AT),
        ({**VECTOR_HEADERS, "Webhook-Signature": "v1,b3RoZXI="}, VECTOR_BODY, VECTOR_AT),
        ({**VECTOR_HEADERS, "Webhook-Timestamp": "soon"}, VECTOR_BODY, VECTOR_AT),
        ({**VECTOR_HEADERS, "Webhook-Timestamp": "9" * 5000}, VECTOR_BODY, VECTOR_AT),
        (VECTOR_HEADERS, VECTOR_BODY, VECTOR_AT + 301),
        (VECTOR_HEADERS, VECTOR_BODY, VECTOR_AT - 301),
        ({}, VECTOR_BODY, VECTOR_AT),
    ],
)
def test_a_forged_or_stale_callback_is_refused(headers: dict[str, str], body: bytes, at: float) -> None:
    with pytest.raises(NotAuthorised):
        listening(VECTOR_SECRET, at).parse_webhook(headers, body)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"task_id":"8731","task_status":"succeed"}', ["8731"]),
        (VECTOR_BODY, ["1234567890"]),
        (b'{"task_id":7}', []),
        (b"[]", []),
        (b"<html>", []),
    ],
)
def test_without_a_secret_a_callback_is_only_read(body: bytes, ids: list[str]) -> None:
    assert listening(None, VECTOR_AT).parse_webhook({}, body) == ids


def test_readiness_names_the_setting_and_the_variable() -> None:
    new, old = OFFERS["kling-3.0"], OFFERS["kling-v3"]
    bare = adapter({"accounts": {}}).unready(new, "standard")
    assert bare is not None
    assert bare.code == "no_credentials"
    assert "accounts.default.api_key" in bare.detail
    assert "REELGATE_PLUGINS__KLING__ACCOUNTS__DEFAULT__API_KEY" in bare.detail
    pair = adapter({"accounts": {"eu": {"access_key": "ak", "secret_key": "sk"}}})
    assert pair.accounts == ("eu",)
    assert pair.unready(old, "standard") is None
    unready = pair.unready(new, "standard")
    assert unready is not None
    assert "accounts.eu.api_key" in unready.detail
    assert adapter().unready(new, "standard") is None
    both = adapter({"accounts": {"eu": {"access_key": "ak", "secret_key": "sk"}, "new": {"api_key": "k"}}})
    assert both.unready(new, "standard") is None, "one account that fits is enough"
    unknown = adapter().unready(new.model_copy(update={"upstream": "kling-9"}), "standard")
    assert unknown is not None
    assert unknown.code == "unknown_model"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"accounts": {"a": {}}}, "give either"),
        ({"accounts": {"a": {"api_key": "k3y-k3y", "access_key": "ak", "secret_key": "sk"}}}, "give either"),
        ({"accounts": {"a": {"access_key": "k3y-k3y"}}}, "give either"),
        ({"accounts": {"a": {"api_key": "k3y-k3y", "webhook_secret": "whsec_?"}}}, "base64"),
        ({"accounts": {"a": {"api_key": "k3y-k3y", "webhook_secret": "whsec_"}}}, "base64"),
        ({"accounts": {"a": {"api_key": "k3y-k3y", "webhook_secret": "whsec_é"}}}, "base64"),
        (
            {
                "accounts": {
                    "a": {"api_key": "k3y-k3y", "webhook_secret": "whsec_aaaa"},
                    "b": {"api_key": "x"},
                }
            },
            "every account",
        ),
        ({"accounts": {"a": {"api_key": "k3y-k3y", "regoin": "x"}}}, "regoin"),
    ],
)
def test_wrong_settings_are_named_and_not_shown(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        adapter(section)
    assert "k3y-k3y" not in str(caught.value)


async def test_what_an_access_key_cannot_have_is_for_another_account() -> None:
    new, old = OFFERS["kling-3.0"], OFFERS["kling-v3"]
    section = {"accounts": {"pair": {"access_key": "ak", "secret_key": "sk"}, "key": {"api_key": KEY}}}
    kling = adapter(section)
    served = {
        (offer.upstream, name)
        for offer in (new, old)
        for name in ("pair", "key", "gone")
        if kling.serves(offer, name)
    }
    assert served == {("kling-3.0", "key"), ("kling-v3", "pair"), ("kling-v3", "key")}
    assert not kling.serves(new.model_copy(update={"upstream": "kling-9"}), "key")
    with respx.mock(), pytest.raises(Unsupported, match="nothing was created") as caught:
        await kling.submit(replace(job("kling-3.0"), account="pair"))
    assert "accounts.pair.api_key" in caught.value.operator_detail


async def test_each_account_has_its_own_key_host_and_limit() -> None:
    kling = adapter(
        {
            "accounts": {
                "a": {"api_key": "key-of-a", "concurrent": 3},
                "b": {"api_key": "key-of-b", "base_url": "https://b.example/kling"},
            }
        }
    )
    assert [kling.limits(name).concurrent for name in ("a", "b", "gone")] == [3, None, None]
    with respx.mock() as wire:
        route = wire.post("https://b.example/kling/text-to-video/kling-2.6").mock(
            return_value=ok({"id": "1"})
        )
        ticket = await kling.submit(replace(job("kling-2.6"), account="b"))
    assert route.calls[0].request.headers["Authorization"] == "Bearer key-of-b"
    assert ticket == Ticket(id="1", data={"account": "b", "path": "/tasks"})
    with pytest.raises(NotAuthorised, match="nothing was created"):
        await kling.submit(replace(job("kling-2.6"), account="gone"))
