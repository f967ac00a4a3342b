"""OpenAI's Videos API as it was documented until its end, and Azure's form of it, for test mode.

Create, retrieve, list, delete and content (the video itself; no thumbnail or sheet) are served; remix, edit,
extend and characters are not. From openai/openai-openapi of 2026-08-21 and the guide of June 2026.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal
from uuid import uuid4

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from gateway.kit.sandbox import Clip, Desk, FakeJob, FakeProvider, Refusal

OPENAI_KEY = "sk-sandbox-openai-5d3f9c27a1"
AZURE_KEY = "sandbox-azure-8b1e64f0c2"

_LIFETIME_S = 3600
_POLL_AFTER_MS = 2000
_PRO = frozenset({"sora-2-pro", "sora-2-pro-2025-10-06"})
_MODELS = frozenset({"sora-2", "sora-2-2025-10-06", "sora-2-2025-12-08"}) | _PRO
_USD_PER_SECOND: Mapping[tuple[bool, str], Decimal] = {
    (False, "720x1280"): Decimal("0.10"),
    (False, "1280x720"): Decimal("0.10"),
    (True, "720x1280"): Decimal("0.30"),
    (True, "1280x720"): Decimal("0.30"),
    (True, "1024x1792"): Decimal("0.50"),
    (True, "1792x1024"): Decimal("0.50"),
    (True, "1080x1920"): Decimal("0.70"),
    (True, "1920x1080"): Decimal("0.70"),
}
"""By whether it is the pro model, and size: what a model is not listed with, it does not make."""

_WORDS = {"queued": "queued", "running": "in_progress", "succeeded": "completed", "failed": "failed"}


class _Wrong(Exception):
    """A request that OpenAI refuses."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = "invalid_value",
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        error = {"message": message, "type": kind, "param": param, "code": code}
        self.response = JSONResponse({"error": error}, status)


class _ImageUrl(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    image_url: str | None = None
    file_id: str | None = None


class _Create(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(min_length=1, max_length=32_000)
    model: str = "sora-2"
    seconds: Literal["4", "8", "12"] = "4"
    size: str = "720x1280"
    input_reference: _ImageUrl | None = None


class OpenAIVideosSandbox(FakeProvider):
    """Both services, each with its own key and jobs."""

    name: ClassVar[str] = "openai_videos"

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        return {
            "accounts": {
                "default": {"base_url": f"{url}/v1", "api_key": OPENAI_KEY},
                "azure": {"flavour": "azure", "base_url": f"{url}/openai/v1", "api_key": AZURE_KEY},
            }
        }

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        openai = _Service(desk, "default", "authorization", f"Bearer {OPENAI_KEY}")
        azure = _Service(desk, "azure", "api-key", AZURE_KEY)
        return [*openai.routes("/v1"), *azure.routes("/openai/v1")]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path.endswith("/videos")

    @override
    def refuse(self, why: Refusal) -> Response:
        match why:
            case "rate_limited":
                refusal = _Wrong(
                    "Rate limit reached.", code="rate_limit_exceeded", status=429, kind="requests"
                )
            case "out_of_credit":
                refusal = _Wrong(
                    "You exceeded your current quota, please check your plan and billing details.",
                    code="insufficient_quota",
                    status=429,
                    kind="insufficient_quota",
                )
            case "content_refused":
                refusal = _blocked()
            case "model_gone":
                refusal = _no_model("sora-2")
            case "server_error":
                refusal = _Wrong(
                    "The server had an error while processing your request.",
                    code="server_error",
                    status=500,
                    kind="server_error",
                )
        return refusal.response


@dataclass(frozen=True)
class _Service:
    """One host: ``header`` has to say ``credentials``."""

    desk: Desk
    account: str
    header: str
    credentials: str

    def routes(self, prefix: str) -> list[BaseRoute]:
        return [
            Route(f"{prefix}/videos", self._guarded(self.create), methods=["POST"]),
            Route(f"{prefix}/videos", self._guarded(self.list), methods=["GET"]),
            Route(f"{prefix}/videos/{{id}}", self._guarded(self.retrieve), methods=["GET"]),
            Route(f"{prefix}/videos/{{id}}", self._guarded(self.delete), methods=["DELETE"]),
            Route(f"{prefix}/videos/{{id}}/content", self._guarded(self.content), methods=["GET"]),
        ]

    def _guarded(self, handle: Any) -> Any:
        async def answer(request: Request) -> Response:
            try:
                if request.headers.get(self.header) != self.credentials:
                    raise _Wrong("Incorrect API key provided.", code="invalid_api_key", status=401)
                response: Response = await handle(request)
            except _Wrong as wrong:
                response = wrong.response
            response.headers["x-request-id"] = f"req_{uuid4().hex}"
            return response

        return answer

    async def create(self, request: Request) -> Response:
        fields, image = await _read(request)
        asked = _validated(fields)
        if asked.model not in _MODELS:
            raise _no_model(asked.model)
        rate = _USD_PER_SECOND.get((asked.model in _PRO, asked.size))
        if rate is None:
            raise _Wrong(f"Invalid value: '{asked.size}' is not a size of {asked.model}.", param="size")
        width, height = (int(side) for side in asked.size.split("x"))
        if asked.input_reference is not None:
            image = _referenced(asked.input_reference)
        if image is not None:
            _check_image(image, (width, height))
        seconds = Decimal(asked.seconds)
        job = self.desk.take(
            id=f"video_{uuid4().hex}",
            account=self.account,
            clip=Clip(width=width, height=height, seconds=seconds, fps=30, audio=True),
            usd=rate * seconds,
            prompt=asked.prompt,
            data=asked.model_dump(exclude={"input_reference"}),
        )
        return self._shown(job)

    async def retrieve(self, request: Request) -> Response:
        return self._shown(self._job(request))

    async def list(self, request: Request) -> Response:
        query = request.query_params
        limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
        if not limit.isdecimal() or int(limit) > 100:
            raise _Wrong("Invalid 'limit': expected an integer from 0 to 100.", param="limit")
        if order not in ("asc", "desc"):
            raise _Wrong("Invalid 'order': expected 'asc' or 'desc'.", param="order")
        jobs = [*self.desk.jobs(account=self.account)]
        if order == "asc":
            jobs.reverse()
        ids = [job.id for job in jobs]
        if after is not None:
            if after not in ids:
                raise _Wrong(f"No video found with id '{after}'.", param="after")
            jobs = jobs[ids.index(after) + 1 :]
        page = jobs[: int(limit)]
        return JSONResponse(
            {
                "object": "list",
                "data": [self._object(job) for job in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(jobs) > len(page),
            }
        )

    async def delete(self, request: Request) -> Response:
        job = self._job(request)
        if self.desk.state(job) not in ("succeeded", "failed"):
            raise _Wrong("Only a completed or failed video can be deleted.", code=None)
        self.desk.forget(job)
        return JSONResponse({"id": job.id, "object": "video.deleted", "deleted": True})

    async def content(self, request: Request) -> Response:
        job = self._job(request)
        if request.query_params.get("variant", "video") != "video":
            raise _Wrong("The sandbox has the variant 'video' only.", param="variant")
        if self.desk.state(job) != "succeeded":
            raise _Wrong("The video is not ready yet.", code=None)
        if self.desk.now() > job.finished_at + _LIFETIME_S:
            raise _Wrong("The video has expired.", code=None, status=404)
        return self.desk.file(job, request)

    def _job(self, request: Request) -> FakeJob:
        id = request.path_params["id"]
        job = self.desk.job(id, account=self.account)
        if job is None:
            raise _Wrong(f"Video with id '{id}' not found.", code=None, status=404)
        return job

    def _shown(self, job: FakeJob) -> Response:
        shown = self._object(job)
        over = shown["status"] in ("completed", "failed")
        return JSONResponse(shown, headers={} if over else {"openai-poll-after-ms": str(_POLL_AFTER_MS)})

    def _object(self, job: FakeJob) -> dict[str, Any]:
        state = self.desk.state(job)
        done = state == "succeeded"
        return {
            "id": job.id,
            "object": "video",
            "model": job.data["model"],
            "status": _WORDS.get(state, "postprocessing"),
            "progress": 100 if done else min(99, self.desk.percent(job)),
            "created_at": int(job.created_at),
            "completed_at": int(job.finished_at) if done else None,
            "expires_at": int(job.finished_at) + _LIFETIME_S if done else None,
            "prompt": job.data["prompt"],
            "size": job.data["size"],
            "seconds": job.data["seconds"],
            "remixed_from_video_id": None,
            "error": self._error(job) if state == "failed" else None,
        }

    def _error(self, job: FakeJob) -> dict[str, str]:
        if self.desk.failure(job) == "content_refused":
            return {
                "code": "moderation_blocked",
                "message": "Your request was blocked by our moderation system.",
            }
        return {"code": "server_error", "message": "The video could not be generated."}


def _no_model(model: str) -> _Wrong:
    return _Wrong(
        f"The model '{model}' does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
        status=404,
    )


def _blocked() -> _Wrong:
    message = "Your request was blocked by our moderation system."
    return _Wrong(message, code="moderation_blocked", kind="image_generation_user_error")


async def _read(request: Request) -> tuple[dict[str, Any], bytes | None]:
    """The fields, and the image if it came as a file."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json":
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise _Wrong("We could not parse the JSON body of your request.", code=None)
        return body, None
    if kind != "multipart/form-data":
        raise _Wrong(f"Unsupported content type: '{kind}'.", code="unsupported_content_type", status=415)
    fields: dict[str, Any] = {}
    image = None
    async with request.form() as form:
        for name, value in form.multi_items():
            if name in fields or (name == "input_reference" and image is not None):
                raise _Wrong(f"Duplicate parameter: '{name}'.", param=name)
            if not isinstance(value, UploadFile):
                fields[name] = value
            elif name != "input_reference":
                raise _Wrong(f"Invalid type for '{name}': it is no file.", param=name, code="invalid_type")
            elif value.content_type not in ("image/jpeg", "image/png", "image/webp"):
                raise _Wrong(f"Unsupported file type: '{value.content_type}'.", param=name)
            else:
                image = await value.read()
    return fields, image


def _validated(fields: dict[str, Any]) -> _Create:
    try:
        return _Create.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(step) for step in found["loc"])
        codes = {
            "extra_forbidden": "unknown_parameter",
            "missing": "missing_required_parameter",
            "string_type": "invalid_type",
        }
        code = codes.get(found["type"], "invalid_value")
        raise _Wrong(f"Invalid parameter '{param}': {found['msg']}.", param=param, code=code) from None


def _referenced(reference: _ImageUrl) -> bytes:
    if (reference.image_url is None) == (reference.file_id is None):
        raise _Wrong("Give exactly one of 'image_url' and 'file_id'.", param="input_reference")
    head, _, data = (reference.image_url or "").partition(";base64,")
    if head not in ("data:image/png", "data:image/jpeg", "data:image/webp"):
        raise _Wrong("The image could not be fetched.", param="input_reference")  # there is no network here
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise _Wrong("The data URL is not valid base64.", param="input_reference") from None


def _check_image(data: bytes, size: tuple[int, int]) -> None:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            found = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise _Wrong("The image could not be read.", param="input_reference") from None
    if found != size:
        message = f"The image has {found[0]}x{found[1]} pixels, not {size[0]}x{size[1]}."
        raise _Wrong(message, param="input_reference")
