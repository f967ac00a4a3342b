"""Kling's double for test mode: both APIs, from the specification alone (spec A.1 to A.10).

Imitated: text-to-video, image-to-video and (API of 2026) omni-video, the queries and lists, callbacks. Not
imitated, and refused as unknown: masks, camera control, elements, voices, shot lists, videos as input, o1,
lists of one product type.

Where the specification leaves room, this is strict: ``contents`` on ``/text-to-video`` and ``multi_shot`` on
``/omni-video`` are refused, a clip from a first frame has the listed size whose shape is nearest, and a task
that is not known is 404 with code 1203 in the older API and left out of the answer in that of 2026.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from adapters.kling._sandbox_auth import API_KEY, check
from adapters.kling._sandbox_bodies import Listing, Order, Refusal, legacy_order, read, task_order
from gateway.kit.sandbox import Callback, Desk, FakeJob, FakeProvider, State
from gateway.kit.sandbox import Refusal as Why

WEBHOOK_SECRET = "whsec_c2FuZGJveC1rbGluZy1jYWxsYmFjay1zZWNyZXQ="  # noqa: S105  # the double's own

_ACCOUNT = "default"
_LEGACY_KINDS = ("text2video", "image2video")
_KINDS = ("text-to-video", "image-to-video", "omni-video")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_KEPT_S = 30 * 86_400.0
_USD_PER_UNIT = Decimal("0.14")

_WORDS: Mapping[State, str] = {
    "queued": "submitted",
    "running": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "unknown": "paused",
}
_REASONS = {
    "failed": "Internal rendering error",
    "content_refused": "Failure to pass the risk control system",
}
_REFUSALS: Mapping[Why, tuple[int, int, str]] = {
    "rate_limited": (429, 1303, "parallel task over resource pack limit"),
    "out_of_credit": (429, 1102, "Account balance not enough"),
    "content_refused": (400, 1301, "Failure to pass the content safety check"),
    "model_gone": (404, 1203, "The requested model does not exist"),
    "server_error": (500, 5000, "Internal server error"),
}


class KlingSandbox(FakeProvider):
    """Kling, imitated.

    ``duplicates``: what an ``external_task_id`` that was used before meets; both were reported.
    ``finds_texts``: whether the API of 2026 finds text-to-video tasks by it; the documentation says that it
    does, a report says that it does not.
    """

    name = "kling"

    def __init__(
        self, *, duplicates: Literal["accept", "reject"] = "accept", finds_texts: bool = False
    ) -> None:
        self._duplicates = duplicates
        self._finds_texts = finds_texts

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        account = {"api_key": API_KEY, "base_url": url, "webhook_secret": WEBHOOK_SECRET}
        return {"accounts": {"default": account}}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        api = _Api(desk, rejects=self._duplicates == "reject", finds_texts=self._finds_texts)
        return [
            Route("/v1/videos/{kind}", api.legacy_tasks, methods=_METHODS),
            Route("/v1/videos/{kind}/{id}", api.legacy_task, methods=_METHODS),
            Route("/tasks", api.tasks, methods=_METHODS),
            Route("/{kind}/{model}", api.create, methods=_METHODS),
        ]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and not request.url.path.endswith("/tasks")

    @override
    def refuse(self, why: Why) -> Response:
        return _refusal(*_REFUSALS[why])

    @override
    def callback(self, desk: Desk, job: FakeJob) -> Callback | None:
        if job.callback_url is None:
            return None
        shown = _legacy(desk, job, called=True) if job.data["legacy"] else _task(desk, job)
        body = json.dumps(shown, separators=(",", ":")).encode()
        id, timestamp = secrets.token_hex(8), str(int(desk.now()))
        key = base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_"))
        mac = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        }
        return Callback(url=job.callback_url, headers=headers, body=body)


Handler = Callable[["_Api", Request], Awaitable[Any]]


def _speaks(
    *methods: str, tokens: bool
) -> Callable[[Handler], Callable[[_Api, Request], Awaitable[Response]]]:
    """Lets in who may call, and puts what the handler returns, or refuses, into Kling's envelope."""

    def wrap(handler: Handler) -> Callable[[_Api, Request], Awaitable[Response]]:
        @wraps(handler)
        async def answer(self: _Api, request: Request) -> Response:
            try:
                check(request, self.desk.now(), tokens=tokens)
                if request.method not in methods:
                    raise Refusal(404, 1202, "the requested method is invalid")
                return _answer(200, 0, "SUCCEED", data=await handler(self, request))
            except Refusal as refusal:
                return _refusal(refusal.status, refusal.code, refusal.message)

        return answer

    return wrap


class _Api:
    """The handlers."""

    def __init__(self, desk: Desk, *, rejects: bool, finds_texts: bool) -> None:
        self.desk = desk
        self._rejects = rejects
        self._finds_texts = finds_texts

    @_speaks("GET", "POST", tokens=True)
    async def legacy_tasks(self, request: Request) -> Any:
        """Create a task, or list those of this path."""
        kind = _known(request.path_params["kind"], _LEGACY_KINDS)
        if request.method == "POST":
            job = self._take(legacy_order(kind, await request.body()), kind, legacy=True)
            return _legacy(self.desk, job)
        number, size = _number(request, "pageNum", 1, 1000), _number(request, "pageSize", 30, 500)
        jobs = [job for job in self._jobs(legacy=True) if job.data["kind"] == kind]
        return [_legacy(self.desk, job) for job in jobs[(number - 1) * size : number * size]]

    @_speaks("GET", tokens=True)
    async def legacy_task(self, request: Request) -> Any:
        """Show one, by its id or the client's own."""
        kind, id = _known(request.path_params["kind"], _LEGACY_KINDS), request.path_params["id"]
        job = self.desk.job(id, account=_ACCOUNT)
        if job is None:
            job = next((one for one in self._jobs(legacy=True) if one.tag == id), None)
        if job is None or job.data["kind"] != kind:
            raise Refusal(404, 1203, "the requested resource does not exist")
        return _legacy(self.desk, job)

    @_speaks("POST", tokens=False)
    async def create(self, request: Request) -> Any:
        """Create a task of the API of 2026."""
        kind = _known(request.path_params["kind"], _KINDS)
        order = task_order(kind, request.path_params["model"], await request.body())
        return _task(self.desk, self._take(order, kind, legacy=False))

    @_speaks("GET", "POST", tokens=False)
    async def tasks(self, request: Request) -> Any:
        """Show some (GET), or list all (POST)."""
        if request.method == "POST":
            return self._listed(read(Listing, await request.body()))
        asked = request.query_params
        if len(asked) != 1 or not {*asked} <= {"task_ids", "external_task_ids"}:
            raise Refusal(400, 1201, "exactly one of task_ids and external_task_ids is required")
        ((by, joined),) = asked.items()
        ids = joined.split(",") if by == "task_ids" else self._named(joined.split(","))
        jobs = [self.desk.job(id, account=_ACCOUNT) for id in ids]
        return [_task(self.desk, job) for job in jobs if job is not None and not job.data["legacy"]]

    def _named(self, tags: Sequence[str]) -> list[str]:
        return [
            job.id
            for job in self._jobs(legacy=False)
            if job.tag in tags and (self._finds_texts or job.data["kind"] != "text-to-video")
        ]

    def _listed(self, asked: Listing) -> Any:
        now_ms = self.desk.now() * 1000
        start = asked.start_time if asked.start_time is not None else now_ms - _KEPT_S * 1000
        end = asked.end_time if asked.end_time is not None else now_ms
        shown = [
            _task(self.desk, job) for job in self._jobs(legacy=False) if start <= job.created_at * 1000 <= end
        ]
        for wanted in asked.filters:
            shown = [task for task in shown if task["status"] in wanted.values]
        past = int(asked.cursor) + asked.limit
        page = shown[int(asked.cursor) : past]
        more = past < len(shown)
        return {
            "result": page,
            "count": len(page),
            "next_cursor": str(past) if more else "",
            "has_more": more,
        }

    def _take(self, order: Order, kind: str, *, legacy: bool) -> FakeJob:
        if self._rejects and order.tag and any(job.tag == order.tag for job in self._jobs(legacy=legacy)):
            raise Refusal(400, 1201, "external_task_id is duplicated")
        data = {"legacy": legacy, "kind": kind, "model": order.model, "multi_shot": order.multi_shot}
        return self.desk.take(
            account=_ACCOUNT,
            clip=order.clip,
            usd=order.usd,
            prompt=order.prompt,
            data=data,
            id=f"{int(self.desk.now() * 1000)}{secrets.randbelow(10**6):06d}",
            tag=order.tag,
            callback_url=order.callback_url,
        )

    def _jobs(self, *, legacy: bool) -> list[FakeJob]:
        return [job for job in self.desk.jobs(account=_ACCOUNT) if job.data["legacy"] == legacy]


def _legacy(desk: Desk, job: FakeJob, *, called: bool = False) -> dict[str, Any]:
    """A task as the older API shows it; a call (``called``) holds less."""
    state = desk.state(job)
    shown: dict[str, Any] = {
        "task_id": job.id,
        "task_status": "succeed" if state == "succeeded" else _WORDS[state],
        "task_info": {"external_task_id": job.tag} if job.tag else {},
        **dict(zip(("created_at", "updated_at"), _times(job, state), strict=True)),
    }
    if state == "failed":
        shown |= {"task_status_msg": _REASONS[desk.failure(job)], "final_unit_deduction": "0"}
    if state == "succeeded":
        video = {"id": f"v{job.id}", "url": desk.file_url(job, expires_s=_KEPT_S), "duration": _seconds(job)}
        shown |= {"task_status_msg": "", "final_unit_deduction": _units(job)}
        shown |= {"task_result": {"videos": [video if called else {**video, "watermark_url": ""}]}}
    return shown if called else {**shown, "watermark_info": {"enabled": False}}


def _task(desk: Desk, job: FakeJob) -> dict[str, Any]:
    """A task as the API of 2026 shows it."""
    state = desk.state(job)
    shown: dict[str, Any] = {
        "id": job.id,
        "status": _WORDS[state],
        "message": _REASONS[desk.failure(job)] if state == "failed" else "",
        **dict(zip(("create_time", "update_time"), _times(job, state), strict=True)),
    }
    if job.tag:
        shown["external_id"] = job.tag
    if state == "succeeded":
        url = desk.file_url(job, expires_s=_KEPT_S)
        video = {"type": "video", "id": f"v{job.id}", "url": url, "watermark_url": ""}
        shown["outputs"] = [{**video, "duration": _seconds(job)}]
        shown["billing"] = [{"charge_type": "unit", "amount": _units(job), "list_price": str(job.usd)}]
    return shown


def _times(job: FakeJob, state: State) -> tuple[int, int]:
    updated = {"queued": job.created_at, "running": job.started_at}.get(state, job.finished_at)
    return int(job.created_at * 1000), int(updated * 1000)


def _seconds(job: FakeJob) -> str:
    return f"{job.clip.seconds + Decimal('0.041')}"


def _units(job: FakeJob) -> str:
    return f"{(job.usd / _USD_PER_UNIT).normalize():f}"


def _known(kind: str, kinds: Sequence[str]) -> str:
    if kind not in kinds:
        raise Refusal(404, 1203, "the requested resource does not exist")
    return kind


def _number(request: Request, name: str, default: int, most: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isdecimal() or not 1 <= int(given) <= most:
        raise Refusal(400, 1201, f"{name} is 1 to {most}")
    return int(given)


def _refusal(status: int, code: int, message: str) -> Response:
    return _answer(status, code, message)


def _answer(status: int, code: int, message: str, **more: Any) -> Response:
    return JSONResponse(
        {"code": code, "message": message, "request_id": secrets.token_hex(8), **more}, status
    )
