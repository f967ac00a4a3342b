"""Ark for test mode: content generation tasks as BytePlus ModelArk documents them, and a bill of its own.

Where the documentation leaves a choice, the fake is strict: unknown fields are refused, and so are the fields
that a final video takes over from its draft. What Reelgate has no use for is unknown here: video and audio
references, ``frames``, ``priority``, ``output_format``, tools. Flags in a prompt win over the fields.
"""

from __future__ import annotations

import io
import json
import secrets
import string
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from adapters.seedance._sandbox_models import MODELS, tokens_of
from adapters.seedance._sandbox_orders import DraftItem, No, bad, check_tier, finishing, read_body, whole
from gateway.kit.sandbox import Callback, Clip, Desk, FakeJob, FakeProvider, Refusal

KEY = "ark-sandbox-key-2f41c9d07be3"
_BASE = "/api/v3"
_TASKS = f"{_BASE}/contents/generations/tasks"
_WEEK_S = 7 * 86_400
_DAY_S = 86_400
_FPS = 24
_FLEX_SLOWNESS = 5.0


class FakeArk(FakeProvider):
    """One host of Ark, with one account."""

    name: ClassVar[str] = "seedance"

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        return {"accounts": {"default": {"api_key": KEY, "base_url": url + _BASE}}}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        def route(path: str, method: str, answer: Callable[[Desk, Request, bytes], Response]) -> Route:
            return Route(path, partial(_answered, desk, answer), methods=[method])

        return [
            route(_TASKS, "POST", _create),
            route(_TASKS, "GET", _list),
            route(f"{_TASKS}/{{id}}", "GET", _get),
            route(f"{_TASKS}/{{id}}", "DELETE", _delete),
            Route("/frames/{id}.png", partial(_frame, desk), methods=["GET"]),
        ]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path.endswith(_TASKS)

    @override
    def refuse(self, why: Refusal) -> Response:
        status, code, message = _REFUSALS[why]
        return _error(status, code, message)

    @override
    def callback(self, desk: Desk, job: FakeJob) -> Callback | None:
        if job.callback_url is None:
            return None
        body = json.dumps(_shown(desk, job)).encode()
        return Callback(url=job.callback_url, headers={"Content-Type": "application/json"}, body=body)


_REFUSALS: Mapping[Refusal, tuple[int, str, str]] = {
    "rate_limited": (429, "RateLimitExceeded.EndpointRPMExceeded", "The requests per minute are exceeded."),
    "out_of_credit": (403, "AccountOverdueError", "The account has an overdue balance."),
    "content_refused": (400, "InputTextSensitiveContentDetected", "The text may contain sensitive content."),
    "model_gone": (404, "InvalidEndpointOrModel.NotFound", "The model or endpoint does not exist."),
    "server_error": (500, "InternalServiceError", "The service encountered an unexpected internal error."),
}
_TYPES = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict"}


def _error(status: int, code: str, message: str, param: str = "") -> Response:
    request_id = f"0217{secrets.token_hex(14)}"
    kind = _TYPES.get(status, "TooManyRequests" if status == 429 else "InternalServerError")
    told = {"code": code, "message": f"{message} Request id: {request_id}", "param": param, "type": kind}
    return JSONResponse({"error": told}, status, headers={"X-Client-Request-Id": request_id})


async def _answered(
    desk: Desk, answer: Callable[[Desk, Request, bytes], Response], request: Request
) -> Response:
    """The key is checked first, and it alone says whose jobs are spoken of."""
    if not secrets.compare_digest(
        request.headers.get("authorization", "").encode(), f"Bearer {KEY}".encode()
    ):
        return _error(401, "AuthenticationError", "The API key in the request is missing or invalid.")
    body = await request.body()
    try:
        return answer(desk, request, body)
    except No as no:
        return _error(no.status, no.code, no.message, no.param)


def _create(desk: Desk, request: Request, body: bytes) -> Response:
    order = read_body(body)
    model = MODELS.get(order.model)
    if model is None:
        raise No(404, "InvalidEndpointOrModel.NotFound", f"The model {order.model} does not exist.", "model")
    check_tier(order, model)
    drafts = order.drafts()
    data = finishing(order, model, _done(desk, drafts[0])) if drafts else whole(order, model)
    width, height = data.pop("size")
    tokens = tokens_of(width, height, data["duration"])
    sound, flex = bool(data.get("generate_audio")), order.service_tier == "flex"
    frames = _FPS * data["duration"] + 1
    job = desk.take(
        account="default",
        clip=Clip(width=width, height=height, seconds=Decimal(frames) / _FPS, fps=_FPS, audio=sound),
        usd=model.usd(tokens, data["resolution"], sound=sound, flex=flex),
        prompt=order.texts(),
        data={
            **data,
            "model": order.model,
            "tokens": tokens,
            "service_tier": order.service_tier,
            "execution_expires_after": order.execution_expires_after,
            "return_last_frame": order.return_last_frame,
        },
        id=_new_id(desk.now()),
        tag=order.safety_identifier,
        callback_url=order.callback_url,
        slowness=_FLEX_SLOWNESS if flex else 1.0,
    )
    echoed = {"safety_identifier": job.tag} if job.tag is not None else {}
    return JSONResponse({"id": job.id, **echoed})


def _done(desk: Desk, draft: DraftItem) -> FakeJob | None:
    job = desk.job(draft.draft_task.id, account="default")
    return job if job is not None and _state(desk, job) == "succeeded" else None


def _get(desk: Desk, request: Request, body: bytes) -> Response:
    return JSONResponse(_shown(desk, _job(desk, request)))


def _list(desk: Desk, request: Request, body: bytes) -> Response:
    query = request.query_params
    number, size = (_page_number(query.get(name, usual), name) for name, usual in _PAGING)
    known = {*dict(_PAGING), "filter.status", "filter.model", "filter.service_tier", "filter.task_ids"}
    unknown = next((name for name in query if name not in known), None)
    if unknown is not None:
        raise bad(unknown, "it is unknown")
    ids, tier = query.getlist("filter.task_ids"), query.get("filter.service_tier", "default")
    found = [
        shown
        for shown in (_shown(desk, job) for job in _asked_for(desk, ids) if _recent(desk, job))
        if shown["service_tier"] == tier
        and query.get("filter.status", shown["status"]) == shown["status"]
        and query.get("filter.model", shown["model"]) == shown["model"]
    ]
    return JSONResponse({"items": found[(number - 1) * size : number * size], "total": len(found)})


def _asked_for(desk: Desk, ids: Sequence[str]) -> Sequence[FakeJob]:
    """Those with these ids, or all; newest first."""
    if not ids:
        return desk.jobs(account="default")
    jobs = [job for id in ids if (job := desk.job(id, account="default")) is not None]
    return sorted(jobs, key=lambda job: -job.created_at)


_PAGING = (("page_num", "1"), ("page_size", "10"))


def _page_number(text: str, name: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 500:
        raise bad(name, "1 to 500 are supported")
    return int(text)


def _delete(desk: Desk, request: Request, body: bytes) -> Response:
    """Stops a task that waits, and removes one that is over with all that it made."""
    job = _job(desk, request)
    match _state(desk, job):
        case "queued":
            desk.cancel(job)
        case "succeeded" | "failed" | "expired":
            desk.forget(job)
        case "running":
            raise No(409, "TaskRunningCannotCancel", f"The task {job.id} is running: it cannot be cancelled.")
        case _:
            raise bad("id", "the task is cancelled already")
    return JSONResponse({})


def _job(desk: Desk, request: Request) -> FakeJob:
    id = request.path_params["id"]
    job = desk.job(id, account="default")
    if job is None or not _recent(desk, job):
        raise No(404, "ResourceNotFound", f"The task {id} is not found.", "id")
    return job


def _recent(desk: Desk, job: FakeJob) -> bool:
    return desk.now() < job.created_at + _WEEK_S


def _state(desk: Desk, job: FakeJob) -> str:
    """A task that would end after its time is stopped when that has come, and expired ever after."""
    expires_at = job.created_at + job.data["execution_expires_after"]
    if job.finished_at > expires_at and desk.now() >= expires_at:
        desk.cancel(job)
        return "expired"
    state = desk.state(job)
    return "postprocessing" if state == "unknown" else state


def _shown(desk: Desk, job: FakeJob) -> dict[str, Any]:
    status = _state(desk, job)
    told = ("model", "seed", "resolution", "ratio", "duration", "generate_audio", "draft", "draft_task_id")
    task: dict[str, Any] = {
        "id": job.id,
        "status": status,
        "error": None,
        "created_at": int(job.created_at),
        "updated_at": int(desk.now()),
        "framespersecond": _FPS,
        "service_tier": job.data["service_tier"],
        "execution_expires_after": job.data["execution_expires_after"],
        **{name: job.data[name] for name in told if name in job.data},
    }
    if job.tag is not None:
        task["safety_identifier"] = job.tag
    if status == "failed":
        task["error"] = dict(zip(("code", "message"), _FAILURES[desk.failure(job)], strict=True))
    if status == "succeeded":
        task["content"] = {"video_url": desk.file_url(job, expires_s=_DAY_S)}
        task["usage"] = dict.fromkeys(("completion_tokens", "total_tokens"), job.data["tokens"])
        if job.data["return_last_frame"]:
            task["content"]["last_frame_url"] = f"{desk.url}/frames/{job.id}.png"
    return task


_FAILURES = {
    "failed": ("InternalServiceError", "The service encountered an unexpected internal error."),
    "content_refused": (
        "OutputVideoSensitiveContentDetected",
        "The request failed because the output video may contain sensitive information.",
    ),
}


async def _frame(desk: Desk, request: Request) -> Response:
    """A clip's last picture. Its address is as secret as the task's id."""
    job = desk.job(request.path_params["id"], account="default")
    if job is None or not job.data["return_last_frame"] or _state(desk, job) != "succeeded":
        return Response(status_code=403)
    return Response(await run_in_threadpool(_last_picture, desk.clip_bytes, job), media_type="image/png")


def _last_picture(clip_bytes: Callable[[FakeJob], bytes], job: FakeJob) -> bytes:
    import av

    with av.open(io.BytesIO(clip_bytes(job)), "r", format="mp4") as clip:
        *_, last = clip.decode(video=0)
    picture = io.BytesIO()
    last.to_image().save(picture, "PNG")  # type: ignore[no-untyped-call]  # the library gives it no types
    return picture.getvalue()


def _new_id(now: float) -> str:
    letters = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
    return f"cgt-{time.strftime('%Y%m%d%H%M%S', time.gmtime(now))}-{letters}"
