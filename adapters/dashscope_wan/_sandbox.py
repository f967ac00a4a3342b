"""Model Studio's double: its tasks and its bill, written from the provider's documentation.

Regions are paths here, ``/singapore/api/v1/…``, since one sandbox has one host. Where the documentation
leaves room, the double is strict: no size for models that take none, no field that a model lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from adapters.dashscope_wan._sandbox_order import TIERS, V25, V27, V30, Order, Refused, bad, generation_of
from gateway.kit.sandbox import Desk, FakeJob, FakeProvider, Refusal, State

KEYS = {
    "sk-sandbox-wan-singapore-51c7e90b": "singapore",
    "sk-sandbox-wan-beijing-0f36ad82": "beijing",
}
TEST_KEY = next(iter(KEYS))
"""Of the account ``default``."""

_DAY_S = 86_400
_BEIJING = timezone(timedelta(hours=8))

_WORDS: Mapping[State, str] = {
    "queued": "PENDING",
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "cancelled": "CANCELED",
    "unknown": "ARCHIVING",  # no word of the documentation
}

_PRICES = """
singapore wan2.2-t2v-plus     0.02      -         0.10
singapore wan2.2-i2v-plus     0.02      -         0.10
singapore wan2.5-t2v-preview  0.05      0.10      0.15
singapore wan2.5-i2v-preview  0.05      0.10      0.15
singapore wan2.6-t2v          -         0.10      0.15
singapore wan2.6-i2v          -         0.10      0.15
singapore wan2.7-t2v          -         0.10      0.15
singapore wan2.7-i2v          -         0.10      0.15
singapore wan3.0-video        0.05      0.10      0.20
singapore wan3.0-video-prime  0.068     0.14      0.28
beijing   wan2.2-t2v-plus     0.02007   -         0.10035
beijing   wan2.2-i2v-plus     0.02007   -         0.10035
beijing   wan2.2-i2v-flash    0.0143353 0.0286706 0.06880944
beijing   wan2.2-kf2v-flash   0.0143353 0.0286706 0.06880944
beijing   wan2.5-t2v-preview  0.0430059 0.086012  0.143353
beijing   wan2.5-i2v-preview  0.0430059 0.086012  0.143353
beijing   wan2.6-t2v          -         0.086012  0.143353
beijing   wan2.6-i2v          -         0.086012  0.143353
beijing   wan2.7-t2v          -         0.086012  0.143353
beijing   wan2.7-i2v          -         0.086012  0.143353
beijing   wan3.0-video        0.041256  0.082513  0.165025
beijing   wan3.0-video-prime  0.0636    0.127199  0.254399
"""
"""Dollars per second at 480P, 720P and 1080P; Beijing's yuan at 0.143353 where no dollars are given."""

_USD_PER_SECOND: Mapping[tuple[str, str, str], Decimal] = {
    (region, model, tier): Decimal(usd)
    for region, model, *row in (line.split() for line in _PRICES.strip().splitlines())
    for tier, usd in zip(TIERS, row, strict=True)
    if usd != "-"
}


class FakeModelStudio(FakeProvider):
    """Creates, looks, lists, cancels."""

    name: ClassVar[str] = "dashscope_wan"

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        accounts = {
            "default" if key == TEST_KEY else region: {
                "api_key": key,
                "region": region,
                "base_url": f"{url}/{region}",
            }
            for key, region in KEYS.items()
        }
        return {"accounts": accounts, "inline_media": True}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        studio = _Studio(desk)
        api = "/{region}/api/v1"
        return [
            Route(f"{api}/services/aigc/{{service}}/video-synthesis", studio.create, methods=["POST"]),
            Route(f"{api}/tasks", studio.listing, methods=["GET"]),
            Route(f"{api}/tasks/{{id}}", studio.show, methods=["GET"]),
            Route(f"{api}/tasks/{{id}}/cancel", studio.cancel, methods=["POST"]),
        ]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path.endswith("/video-synthesis")

    @override
    def refuse(self, why: Refusal) -> Response:
        match why:
            case "rate_limited":
                return _error(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again.")
            case "out_of_credit":
                return _error(400, "Arrearage", "Access denied: the account is not in good standing.")
            case "content_refused":
                return _error(400, "DataInspectionFailed", "Input data may contain inappropriate content.")
            case "model_gone":  # a refusal that comes with HTTP 200
                return _error(200, "Model.NotExist", "Model not exist.", output=None)
            case "server_error":
                return _error(500, "InternalError", "An internal error has occurred.")


class _Studio:
    """The provider's doors; each answers a refusal in its own words."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, request: Request) -> Response:
        """Take a task."""
        try:
            region = _region(request)
            if request.headers.get("x-dashscope-async") != "enable":
                raise Refused(403, "AccessDenied", "current user api does not support synchronous calls.")
            service = request.path_params["service"]
            order = Order.read(await request.body(), region=region, service=service)
        except Refused as no:
            return _error(no.status, no.code, no.message)
        rate = _USD_PER_SECOND[region, order.model, order.tier]
        job = self._desk.take(
            account=region,
            clip=order.clip,
            usd=rate * order.clip.seconds,
            prompt=order.prompt,
            data=order.record(),
            id=str(uuid4()),
        )
        return _answer({"output": {"task_status": "PENDING", "task_id": job.id}})

    async def show(self, request: Request) -> Response:
        """Tell of a task; one that is unknown or too old is no error."""
        try:
            region = _region(request)
        except Refused as no:
            return _error(no.status, no.code, no.message)
        id = request.path_params["id"]
        job = self._living(id, region)
        if job is None:
            return _answer({"output": {"task_id": id, "task_status": "UNKNOWN"}})
        return _answer(self._told(job, self._desk.state(job)))

    async def listing(self, request: Request) -> Response:
        """One page of a day's tasks."""
        try:
            region = _region(request)
            page, size, jobs = self._asked_for(request.query_params, region)
        except Refused as no:
            return _error(no.status, no.code, no.message)
        tasks = [
            {
                "task_id": job.id,
                "task_status": _WORDS[self._desk.state(job)],
                "model_name": job.data["model"],
                "submit_time": _clock(job.created_at),
            }
            for job in jobs[(page - 1) * size : page * size]
        ]
        return _answer({"page_no": page, "page_size": size, "total": len(jobs), "tasks": tasks})

    async def cancel(self, request: Request) -> Response:
        """Stop a task that waits."""
        try:
            region = _region(request)
        except Refused as no:
            return _error(no.status, no.code, no.message)
        job = self._living(request.path_params["id"], region)
        if job is None or self._desk.state(job) != "queued" or not self._desk.cancel(job):
            return _error(400, "UnsupportedOperation", "Only a task that is PENDING can be canceled.")
        return _answer({})

    def _living(self, id: str, region: str) -> FakeJob | None:
        job = self._desk.job(id, account=region)
        if job is None or self._desk.now() - job.created_at > _DAY_S:
            return None
        return job

    def _asked_for(self, query: Mapping[str, str], region: str) -> tuple[int, int, Sequence[FakeJob]]:
        known = {"start_time", "end_time", "model_name", "status", "api_key_id", "region"}
        unknown = set(query) - known - {"page_no", "page_size"}
        if unknown:
            raise bad(f"unknown query parameter: {', '.join(sorted(unknown))}")
        page, size = _count(query, "page_no", 1), _count(query, "page_size", 10)
        now = self._desk.now()
        since = max(_listed_time(query, "start_time", now - _DAY_S), now - _DAY_S)
        until = _listed_time(query, "end_time", now)
        model, status = query.get("model_name"), query.get("status")
        jobs = [
            job
            for job in self._desk.jobs(account=region)
            if since <= job.created_at <= until
            and model in (None, job.data["model"])
            and status in (None, _WORDS[self._desk.state(job)])
        ]
        return page, size, jobs

    def _told(self, job: FakeJob, state: State) -> dict[str, Any]:
        output: dict[str, Any] = {"task_id": job.id, "task_status": _WORDS[state]}
        if state == "failed":
            refused = self._desk.failure(job) == "content_refused"
            output["code"] = "DataInspectionFailed" if refused else "InternalError.Algo"
            output["message"] = (
                "Output data may contain inappropriate content." if refused else "Algorithm process failed."
            )
            return {"output": output}
        output["submit_time"] = _clock(job.created_at)
        if state != "queued":
            output["scheduled_time"] = _clock(job.started_at)
        if state != "succeeded":
            return {"output": output}
        output["end_time"] = _clock(job.finished_at)
        output["orig_prompt"] = job.data["prompt"]
        if job.data["actual_prompt"]:
            output["actual_prompt"] = job.data["actual_prompt"]
        output["video_url"] = self._desk.file_url(job, expires_s=_DAY_S)
        return {"output": output, "usage": _usage(job)}


# --- the calls' own checks ---


def _region(request: Request) -> str:
    """Whose key it is: a key of another region is no key here."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    region = KEYS.get(key)
    if kind != "Bearer" or region is None or region != request.path_params["region"]:
        raise Refused(401, "InvalidApiKey", "Invalid API-key provided.")
    return region


def _count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise bad(f"{name} has to be a positive integer")
    return int(text)


def _listed_time(query: Mapping[str, str], name: str, default: float) -> float:
    if name not in query:
        return default
    try:
        return datetime.strptime(query[name], "%Y%m%d%H%M%S").replace(tzinfo=_BEIJING).timestamp()
    except ValueError:
        raise bad(f"{name} has to be yyyyMMddHHmmss") from None


# --- the answers ----------------------------------------------------------------------------------


def _usage(job: FakeJob) -> dict[str, Any]:
    generation = generation_of(job.data["model"])
    seconds, size = int(job.clip.seconds), job.data["size"]
    if generation <= V25:
        return {"video_duration": seconds, "video_ratio": size, "video_count": 1}
    usage = {
        "duration": seconds,
        "input_video_duration": 0,
        "output_video_duration": seconds,
        "video_count": 1,
        "SR": int(job.data["tier"].removesuffix("P")),
        "size": size,
    }
    if generation >= V27:
        usage["ratio"] = job.data["ratio"]
    if generation >= V30:
        usage["fps"] = job.clip.fps
    return usage


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone(_BEIJING).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _answer(body: Mapping[str, Any], status: int = 200) -> Response:
    id = str(uuid4())
    return JSONResponse({"request_id": id, **body}, status, headers={"x-request-id": id})


def _error(status: int, code: str, message: str, **more: Any) -> Response:
    return _answer({**more, "code": code, "message": message}, status)
