"""The Gemini API's interactions with Omni, for test mode: create, get, cancel and delete, and their files.

Both prefixes are served, `/v1` and `/v1beta`. From google-genai 3.3.0 and the Omni and Interactions guides of
ai.google.dev, 2026. The bill counts video tokens alone: the little that a prompt and its images cost as input
(1.50 dollars a million) is left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from gateway.kit.sandbox import Clip, Desk, FakeJob, FakeProvider, Refusal

KEY = "AIzaSandbox-4c8e2b71d05f93a6"

_ACCOUNT = "default"
_KEPT_S = 48 * 3600
_USD_PER_TOKEN = Decimal("17.50") / 1_000_000
_TOKENS_PER_SECOND = 5792
"""At 720p. What the other resolutions cost is not published: they are billed as if they were 720p."""

_LONGEST = {"gemini-omni-1.1-flash": Decimal(10), "gemini-omni-1.2-flash": Decimal(15)}
_SHORTEST = Decimal(3)
_SIDES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
_MOST_REFERENCES = 10
_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}
_DURATION = re.compile(r"(\d+(?:\.\d{1,9})?)s")
_WORDS = {
    "queued": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}

Handler = Callable[[Request], Awaitable[Response]]


class _Wrong(Exception):
    """A request that Google refuses: the interactions' own pair, or a google.rpc.Status with a ``status``."""

    def __init__(
        self,
        http: int,
        message: str,
        *,
        code: str = "invalid_request",
        status: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        error: dict[str, Any] = {"code": code, "message": message}
        if status is not None:
            error = {"code": http, "message": message, "status": status, "details": [*details]}
        self.response = JSONResponse({"error": error}, http)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Text(_Strict):
    type: Literal["text"]
    text: str = Field(min_length=1)


class _Image(_Strict):
    type: Literal["image"]
    data: str
    mime_type: Literal["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"]


class _UserInput(_Strict):
    type: Literal["user_input"]
    content: list[Annotated[_Text | _Image, Field(discriminator="type")]]


_Input = Annotated[_Text | _Image | _UserInput, Field(discriminator="type")]


class _VideoConfig(_Strict):
    task: Literal["text_to_video", "image_to_video", "reference_to_video"] | None = None


class _GenerationConfig(_Strict):
    video_config: _VideoConfig = _VideoConfig()


class _Format(_Strict):
    type: Literal["video"]
    aspect_ratio: Literal["16:9", "9:16"] = "16:9"
    resolution: Literal["360p", "720p", "1080p", "4k"] = "720p"
    duration: str = "10s"
    delivery: Literal["inline", "uri"] = "inline"


class _Create(_Strict):
    model: str
    input: str | list[_Input]
    response_format: _Format
    generation_config: _GenerationConfig = _GenerationConfig()
    background: bool = False
    store: bool = True
    labels: dict[str, str] = Field(default_factory=dict)

    def parts(self) -> list[_Text | _Image]:
        """What came in, whatever the form."""
        if isinstance(self.input, str):
            return [_Text(type="text", text=self.input)]
        return [
            part for one in self.input for part in (one.content if isinstance(one, _UserInput) else [one])
        ]


class GeminiOmniSandbox(FakeProvider):
    """One project with one key."""

    name: ClassVar[str] = "gemini_omni"

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        return {"accounts": {_ACCOUNT: {"base_url": f"{url}/v1beta", "api_key": KEY}}}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        service = _Service(desk)
        return [route for prefix in ("/v1beta", "/v1") for route in service.routes(prefix)]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path.endswith("/interactions")

    @override
    def refuse(self, why: Refusal) -> Response:
        match why:
            case "rate_limited":
                quota = {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}
                details: list[Mapping[str, Any]] = [
                    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [quota]},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13s"},
                ]
                # the same words for every quota, a minute's too
                message = "You exceeded your current quota, please check your plan and billing details."
                wrong = _Wrong(429, message, status="RESOURCE_EXHAUSTED", details=details)
            case "out_of_credit":
                message = "Your prepayment credits are depleted. Please manage your billing."
                wrong = _Wrong(429, message, status="RESOURCE_EXHAUSTED")
            case "content_refused":
                wrong = _Wrong(400, "The request was blocked: PROHIBITED_CONTENT.", status="INVALID_ARGUMENT")
            case "model_gone":
                wrong = _Wrong(404, "This model is no longer available.", status="NOT_FOUND")
            case "server_error":
                wrong = _Wrong(500, "An internal error has occurred.", status="INTERNAL")
        return wrong.response


class _Service:
    """The routes below one prefix."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self, prefix: str) -> list[BaseRoute]:
        one = f"{prefix}/interactions/{{id}}"
        return [
            Route(f"{prefix}/interactions", self._guarded(self.create), methods=["POST"]),
            Route(one, self._guarded(self.get), methods=["GET"]),
            Route(one, self._guarded(self.delete), methods=["DELETE"]),
            Route(f"{one}/cancel", self._guarded(self.cancel), methods=["POST"]),
            Route(f"{prefix}/files/{{name}}:download", self._guarded(self.download), methods=["GET"]),
            Route(f"{prefix}/files/{{name}}", self._guarded(self.file), methods=["GET"]),
        ]

    def _guarded(self, handle: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                _admit(request.headers.get("x-goog-api-key"))
                return await handle(request)
            except _Wrong as wrong:
                return wrong.response

        return answer

    async def create(self, request: Request) -> Response:
        asked = _validated(await request.body())
        if asked.model not in _LONGEST:
            raise _Wrong(404, f"models/{asked.model} is not found.", status="NOT_FOUND")
        if not (asked.background and asked.store):
            raise _Wrong(400, "The sandbox makes stored background interactions only.")
        form, seconds = asked.response_format, _seconds(asked)
        texts = [part.text for part in asked.parts() if isinstance(part, _Text)]
        if not texts:
            raise _Wrong(400, "A video needs a text prompt.")
        _check_images([part for part in asked.parts() if isinstance(part, _Image)], asked)
        width, height = _SIDES[form.resolution]
        if form.aspect_ratio == "9:16":
            width, height = height, width
        tokens = round(_TOKENS_PER_SECOND * seconds)
        job = self._desk.take(
            id=f"v1_{uuid4().hex}",
            account=_ACCOUNT,
            clip=Clip(width=width, height=height, seconds=seconds, fps=24, audio=True),
            usd=_USD_PER_TOKEN * tokens,
            prompt=" ".join(texts),
            data={
                "model": asked.model,
                "tokens": tokens,
                "prompt_tokens": len(" ".join(texts).split()),
                "inline": form.delivery == "inline",
                "file": uuid4().hex[:12],
                "prefix": request.url.path.rpartition("/interactions")[0].rpartition("/")[2],
            },
        )
        return self._shown(job)

    async def get(self, request: Request) -> Response:
        return self._shown(self._job(request))

    async def cancel(self, request: Request) -> Response:
        job = self._job(request)
        if not self._desk.cancel(job):
            raise _Wrong(400, "Only an interaction that is under way can be cancelled.")
        return self._shown(job)

    async def delete(self, request: Request) -> Response:
        self._desk.forget(self._job(request))
        return JSONResponse({})

    async def file(self, request: Request) -> Response:
        job = self._of_file(request)
        name = f"files/{job.data['file']}"
        return JSONResponse({"name": name, "mimeType": "video/mp4", "state": "ACTIVE"})

    async def download(self, request: Request) -> Response:
        if request.query_params.get("alt") != "media":
            raise _Wrong(400, "Ask for alt=media.", status="INVALID_ARGUMENT")
        return self._desk.file(self._of_file(request), request)

    def _job(self, request: Request) -> FakeJob:
        if request.query_params.get("stream", "false") != "false":
            raise _Wrong(400, "The sandbox does not stream.")
        job = self._desk.job(request.path_params["id"], account=_ACCOUNT)
        if job is None:
            raise _Wrong(400, "Invalid interaction name.")  # Google has no 404 for it
        return job

    def _of_file(self, request: Request) -> FakeJob:
        name = request.path_params["name"]
        for job in self._desk.jobs(account=_ACCOUNT):
            fresh = self._desk.now() < job.finished_at + _KEPT_S
            if job.data["file"] == name and fresh and self._desk.state(job) == "succeeded":
                return job
        raise _Wrong(
            403, f"You do not have permission to access the file {name}.", status="PERMISSION_DENIED"
        )

    def _shown(self, job: FakeJob) -> Response:
        state = self._desk.state(job)
        shown = {
            "id": job.id,
            "object": "interaction",
            "status": _WORDS.get(state, "rendering"),
            "model": job.data["model"],
            "created": _time(job.created_at),
            "updated": _time(min(self._desk.now(), job.finished_at)),
        }
        if state == "succeeded":
            shown |= {"steps": [{"type": "thought"}, self._output(job)], "usage": _usage(job)}
        elif state == "failed" and self._desk.failure(job) == "content_refused":
            # Omni declines in words: completed, and nothing but text
            text = {"type": "text", "text": "I can't make this video, as it would go against the rules."}
            shown |= {
                "status": "completed",
                "steps": [{"type": "model_output", "content": [text]}],
                "usage": _usage(job, video=0),
            }
        elif state == "failed":
            shown["errors"] = [{"code": "internal", "message": "The video could not be generated."}]
        return JSONResponse(shown)

    def _output(self, job: FakeJob) -> dict[str, Any]:
        video: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
        if job.data["inline"]:
            video["data"] = base64.b64encode(self._desk.clip_bytes(job)).decode()
        else:
            path = f"{job.data['prefix']}/files/{job.data['file']}"
            video["uri"] = f"{self._desk.url}/{path}:download?alt=media"
        return {"type": "model_output", "content": [video]}


def _admit(key: str | None) -> None:
    if key is None:
        raise _Wrong(403, "Method doesn't allow unregistered callers.", status="PERMISSION_DENIED")
    if key != KEY:
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        raise _Wrong(400, "API key not valid.", status="INVALID_ARGUMENT", details=[reason])


def _validated(body: bytes) -> _Create:
    try:
        return _Create.model_validate(json.loads(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[-1]  # of the form that came nearest
        where = ".".join(str(step) for step in found["loc"])
        raise _Wrong(400, f"Invalid value at '{where}': {found['msg']}.") from None
    except ValueError:
        raise _Wrong(400, "Invalid JSON payload received.", status="INVALID_ARGUMENT") from None


def _seconds(asked: _Create) -> Decimal:
    text, longest = asked.response_format.duration, _LONGEST[asked.model]
    found = _DURATION.fullmatch(text)
    if found is None:
        raise _Wrong(400, f"Invalid duration '{text}': expected seconds like '6s'.")
    seconds = Decimal(found[1])
    if not _SHORTEST <= seconds <= longest:
        raise _Wrong(400, f"The duration has to lie between {_SHORTEST}s and {longest}s.")
    return seconds


def _check_images(images: Sequence[_Image], asked: _Create) -> None:
    for image in images:
        try:
            data = base64.b64decode(image.data, validate=True)
        except binascii.Error:
            raise _Wrong(400, "An image is not valid base64.") from None
        if not data.startswith(_SIGNATURES.get(image.mime_type, b"")):
            raise _Wrong(400, f"An image is not {image.mime_type}.")
    most = {"text_to_video": 0, "image_to_video": 2}
    task = asked.generation_config.video_config.task
    fewest = 0 if task in (None, "text_to_video") else 1
    if not fewest <= len(images) <= most.get(task or "", _MOST_REFERENCES):
        raise _Wrong(400, f"The task {task} does not take {len(images)} images.")


def _usage(job: FakeJob, *, video: int | None = None) -> dict[str, Any]:
    tokens = int(job.data["tokens"]) if video is None else video
    prompt = int(job.data["prompt_tokens"])
    return {
        "total_input_tokens": prompt,
        "total_output_tokens": tokens,
        "total_tokens": prompt + tokens,
        "output_tokens_by_modality": [{"modality": "video", "tokens": tokens}],
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
