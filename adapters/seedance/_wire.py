"""The content generation tasks of Volcengine Ark and BytePlus ModelArk, as they go over the wire.

Strict in what is sent, lenient in what is read. Sources: the request reference (docs 82379/1520757, 1521309,
1521675 and 1521720) and the SDK's types; how far to trust each fact stands in the cards.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.kit.http import Response, Verdict
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Unavailable,
    UnexpectedReply,
    Unsupported,
    parse_size,
)

PROVIDER = "Seedance"
TASKS = "/contents/generations/tasks"
MOST_LISTED = 500
"""Tasks on one page of the list, and pages, at most."""

Tier = Literal["default", "flex"]
Resolution = Literal["480p", "720p", "1080p", "4k"]
Ratio = Literal["16:9", "4:3", "1:1", "3:4", "9:16", "21:9"]

_PIXELS: dict[Resolution, int] = {
    "480p": 854 * 480,
    "720p": 1280 * 720,
    "1080p": 1920 * 1080,
    "4k": 3840 * 2160,
}
_RATIOS: dict[Ratio, float] = {
    "16:9": 16 / 9,
    "4:3": 4 / 3,
    "1:1": 1.0,
    "3:4": 3 / 4,
    "9:16": 9 / 16,
    "21:9": 21 / 9,
}


def shape_of(size: str) -> tuple[Resolution, Ratio]:
    """The names under which the provider makes this size: sets hold like areas, each ratio once."""
    width, height = parse_size(size)
    resolution = min(_PIXELS, key=lambda name: _apart(_PIXELS[name], width * height))
    return resolution, min(_RATIOS, key=lambda name: _apart(_RATIOS[name], width / height))


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))


class Out(BaseModel):
    """What is sent: no field but these."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Out):
    """The prompt."""

    type: Literal["text"] = "text"
    text: str


class Url(Out):
    """An address, or a ``data:`` URL."""

    url: str


class Image(Out):
    """An input image and its part."""

    type: Literal["image_url"] = "image_url"
    image_url: Url
    role: Literal["first_frame", "last_frame", "reference_image"]


class TaskId(Out):
    """One of our tasks."""

    id: str


class Draft(Out):
    """A finished draft, whose prompt, images, sound, seed, ratio, duration and camera are taken over."""

    type: Literal["draft_task"] = "draft_task"
    draft_task: TaskId


class Order(Out):
    """The body of a create; what is None is left out."""

    model: str
    content: tuple[Text | Image | Draft, ...]
    resolution: Resolution
    ratio: Ratio | None = None
    duration: int | None = Field(default=None, description="seconds")
    seed: int | None = None
    camera_fixed: bool | None = None
    watermark: bool
    generate_audio: bool | None = None
    draft: Literal[True] | None = None
    service_tier: Tier | None = None
    execution_expires_after: int | None = Field(default=None, ge=3600, le=259_200, description="seconds")
    return_last_frame: Literal[True] | None = None
    callback_url: str | None = None
    safety_identifier: str = Field(max_length=64)

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return self.model_dump(exclude_none=True)


class In(BaseModel):
    """What is read: fields that are new do not matter, nor do most that are missing."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Created(In):
    """The answer to a create."""

    id: str = Field(pattern=r"^[\w.-]{1,128}$")


class Trouble(In):
    """Why a call was refused, or a task failed."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None


class Refusal(In):
    """The body of an answer that is an error."""

    error: Trouble


class Content(In):
    """What a task made; the addresses live for 24 hours."""

    video_url: str | None = None
    last_frame_url: str | None = None


class TaskUsage(In):
    """What is billed."""

    completion_tokens: int | None = None


class Task(In):
    """A task, alike in get, list and callback."""

    id: str | None = None
    status: str | None = None
    error: Trouble | None = None
    content: Content | None = None
    usage: TaskUsage | None = None
    seed: int | None = None


class Page(In):
    """A page of the list; ``total`` counts what the filters let through.

    Its items are read one by one, as :class:`Task`: one that cannot be must not hide the others.
    """

    items: tuple[dict[str, Any], ...] | None = None
    total: int | None = None


Model = TypeVar("Model", bound=In)


def read(model: type[Model], reply: dict[str, Any]) -> Model:
    """The reply as ``model``.

    Raises:
        UnexpectedReply: a field is missing or of another kind; its value is not shown.
    """
    try:
        return model.model_validate(reply)
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False))
        raise UnexpectedReply(
            f"{PROVIDER} answered with something that its API does not document.",
            operator_detail=f"{PROVIDER}: in its answer is wrong or missing: {wrong}",
        ) from None


_MEANINGS: dict[str, type[ProviderError]] = {
    "MissingParameter": BadRequest,
    "InvalidParameter": BadRequest,
    "SensitiveContentDetected": ContentBlocked,
    "InputTextSensitiveContentDetected": ContentBlocked,
    "InputImageSensitiveContentDetected": ContentBlocked,
    "InputVideoSensitiveContentDetected": ContentBlocked,
    "InputAudioSensitiveContentDetected": ContentBlocked,
    "OutputTextSensitiveContentDetected": ContentBlocked,
    "OutputImageSensitiveContentDetected": ContentBlocked,
    "OutputVideoSensitiveContentDetected": ContentBlocked,
    "OutputAudioSensitiveContentDetected": ContentBlocked,
    "AuthenticationError": NotAuthorised,
    "InvalidAccountStatus": NotAuthorised,
    "AccessDenied": NotAuthorised,
    "OperationDenied.PermissionDenied": NotAuthorised,
    "AccountOverdueError": OutOfCredit,
    "OperationDenied.ServiceOverdue": OutOfCredit,
    "OperationDenied.ServiceNotOpen": OutOfCredit,
    # not one of these is the caller's doing, and each speaks of one model only
    "InvalidEndpoint": ModelGone,
    "InvalidEndpointOrModel": ModelGone,
    "ModelNotOpen": Unsupported,  # for this account, until its console opens it
    "RateLimitExceeded": RateLimited,
    "ModelAccountRpmRateLimitExceeded": RateLimited,
    "ModelAccountTpmRateLimitExceeded": RateLimited,
    "ModelAccountIpmRateLimitExceeded": RateLimited,
    "APIAccountRpmRateLimitExceeded": RateLimited,
    "AccountRateLimitExceeded": RateLimited,
    "RequestBurstTooFast": RateLimited,
    "InflightBatchsizeExceeded": RateLimited,
    "ServerOverloaded": Unavailable,
    "ModelLoadingError": Unavailable,
    "QuotaExceeded": OutOfCredit,
    "SetLimitExceeded": OutOfCredit,
    # nothing says that no task was created
    "InternalServiceError": OutcomeUnknown,
    "ContentSecurityDetectionError": OutcomeUnknown,
}
_RISK = "RiskDetection"
_FOR_CALLERS = (BadRequest, ContentBlocked, ModelGone)
"""What callers are told in the provider's own words; the rest speaks of the operator's account."""


def meaning(code: str) -> type[ProviderError] | None:
    """What a code means, with or without what follows its first dot; None if it is not documented."""
    if code.endswith(_RISK):
        return ContentBlocked
    return _MEANINGS.get(code) or _MEANINGS.get(code.partition(".")[0])


def classify(response: Response) -> Verdict:
    """What a refusal means by its code. 408, 499 and 5xx prove nothing, whatever their code says."""
    if response.status_code in (408, 499) or response.status_code >= 500:
        return None
    trouble = _trouble(response)
    kind = meaning(trouble.code or "")
    if kind is None:
        return None
    return kind, (trouble.message or "") if issubclass(kind, _FOR_CALLERS) else ""


def _trouble(response: Response) -> Trouble:
    try:
        return Refusal.model_validate_json(response.content).error
    except ValidationError:  # not from the API itself: a proxy's page, say
        return Trouble()


def failed(trouble: Trouble | None) -> Failed:
    """A task that failed, which is never billed."""
    code = (trouble and trouble.code) or ""
    said = f"{code or 'no code'}: {(trouble and trouble.message) or 'no reason given'}"
    kind = meaning(code)
    if kind is ContentBlocked:
        again = " Another seed may pass." if code.startswith("Output") else ""
        message = f"{PROVIDER} refused the content; nothing is billed.{again} It said: {said}"
        return Failed(code="content_blocked", message=message, user_fault=True)
    if kind is BadRequest:
        message = f"{PROVIDER} refused the input; nothing is billed. It said: {said}"
        return Failed(code="bad_request", message=message, user_fault=True)
    return Failed(code="gave_up", message=f"{PROVIDER} gave the job up; nothing is billed. It said: {said}")
