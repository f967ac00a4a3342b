"""What goes over the wire to Model Studio, and what comes back: strict out, lenient in.

Two generations of bodies share one path. The older one (Wan 2.1 to 2.6) names a size in pixels or an image's
URL; the newer one (2.7, 3.0) lists media, and names a resolution and a ratio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

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
    Queued,
    RateLimited,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
    UnexpectedReply,
    Usage,
    Value,
)

PROVIDER = "Model Studio"

Tier = Literal["480P", "720P", "1080P"]
Ratio = Literal["16:9", "9:16", "1:1", "4:3", "3:4"]
ShotType = Literal["single", "multi"]

SHAPES: Mapping[str, tuple[Tier, Ratio]] = MappingProxyType(
    {
        "832x480": ("480P", "16:9"),
        "480x832": ("480P", "9:16"),
        "624x624": ("480P", "1:1"),
        "1280x720": ("720P", "16:9"),
        "720x1280": ("720P", "9:16"),
        "960x960": ("720P", "1:1"),
        "1088x832": ("720P", "4:3"),
        "832x1088": ("720P", "3:4"),
        "1920x1080": ("1080P", "16:9"),
        "1080x1920": ("1080P", "9:16"),
        "1440x1440": ("1080P", "1:1"),
        "1632x1248": ("1080P", "4:3"),
        "1248x1632": ("1080P", "3:4"),
    }
)

LARGEST_SEED = 2_147_483_647
LONGEST_NEGATIVE_PROMPT = 500

# --- out ------------------------------------------------------------------------------------------


class Media(Value):
    """One picture of the newer body."""

    type: Literal["first_frame", "last_frame", "reference_image"]
    url: str


class Input(Value):
    """What the clip is made from; URLs may hold the picture itself (``data:image/png;base64,…``)."""

    prompt: str
    negative_prompt: str | None = Field(default=None, max_length=LONGEST_NEGATIVE_PROMPT)
    img_url: str | None = None
    first_frame_url: str | None = None
    last_frame_url: str | None = None
    media: tuple[Media, ...] | None = Field(default=None, min_length=1)


class Parameters(Value):
    """How the clip is to be; ``size`` is ``W*H``, ``duration`` in seconds."""

    size: Annotated[str, StringConstraints(pattern=r"^\d+\*\d+$")] | None = None
    resolution: Tier | None = None
    ratio: Ratio | None = None
    duration: int = Field(ge=2, le=30)
    prompt_extend: bool | None = None
    shot_type: ShotType | None = None
    audio: bool | None = None
    watermark: bool
    seed: int | None = Field(default=None, ge=0, le=LARGEST_SEED)


class Order(Value):
    """The body of a create."""

    model: str
    input: Input
    parameters: Parameters

    def body(self) -> dict[str, Any]:
        """The JSON to send: what was not asked for is not there."""
        return self.model_dump(mode="json", exclude_none=True)


# --- in -------------------------------------------------------------------------------------------


class _Told(BaseModel):
    """Something the provider said: any field may be missing, others may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TaskOutput(_Told):
    """``output``: the task, and once it is over its result or why there is none."""

    task_id: str | None = None
    task_status: str | None = None
    video_url: str | None = None
    orig_prompt: str | None = None
    code: str | None = None
    message: str | None = None


class TaskUsage(_Told):
    """``usage``: ``video_*`` up to 2.5; from 2.6 on ``duration`` is the seconds billed, in and out."""

    duration: Decimal | None = None
    video_duration: Decimal | None = None
    size: str | None = None
    video_ratio: str | None = None
    SR: int | str | None = None

    @property
    def seconds(self) -> Decimal | None:
        """What is billed."""
        return self.video_duration if self.duration is None else self.duration

    @property
    def pixels(self) -> str | None:
        """``W*H``, where it is told."""
        return self.size or self.video_ratio

    @property
    def tier(self) -> str | None:
        """``480P`` and so on, where it is told: from 2.6 on."""
        return None if self.SR is None else f"{self.SR}P"


class TaskReply(_Told):
    """The answer to a create or to a look."""

    output: TaskOutput | None = None
    usage: TaskUsage | None = None


class ListedTask(_Told):
    """One line of a list."""

    task_id: str


class TaskList(_Told):
    """One page of the tasks of an account's region; ``total`` counts those of all pages."""

    total: int | None = None
    tasks: tuple[ListedTask, ...] = ()


Told = TypeVar("Told", bound=_Told)


def read(shape: type[Told], body: Mapping[str, Any]) -> Told:
    """An answer's body in the shape that is documented.

    Raises:
        UnexpectedReply: a field is of another type.
    """
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise UnexpectedReply(
            f"{PROVIDER} gave an answer that its API does not document.",
            operator_detail=f"{PROVIDER}: {shape.__name__} with a wrong {fields}",
        ) from None


# --- errors ---------------------------------------------------------------------------------------

_CODES: Mapping[str, type[ProviderError]] = MappingProxyType(
    {
        "invalidparameter": BadRequest,
        "badrequestemptyinput": BadRequest,
        "badrequestemptyparameters": BadRequest,
        "badrequestemptymodel": BadRequest,
        "badrequesttoolarge": BadRequest,
        "invalidurl": BadRequest,
        "unsupportedoperation": BadRequest,
        "inputdownloadfailed": BadRequest,
        "unsupportedfileformat": BadRequest,
        "modelnotfound": ModelGone,
        "modelnotexist": ModelGone,
        "datainspectionfailed": ContentBlocked,
        "ipinfringementsuspect": ContentBlocked,
        "invalidapikey": NotAuthorised,
        "accessdenied": NotAuthorised,
        "workspaceaccessdenied": NotAuthorised,
        "workspacenotfound": NotAuthorised,
        "modelaccessdenied": NotAuthorised,
        "arrearage": OutOfCredit,  # at HTTP 400
        "accessdeniedunpurchased": OutOfCredit,
        "allocationquotafreetieronly": OutOfCredit,
        "prepaidbilloverdue": OutOfCredit,  # at HTTP 429, as the next two
        "postpaidbilloverdue": OutOfCredit,
        "commoditynotpurchased": OutOfCredit,
        "throttling": RateLimited,
        "throttlingratequota": RateLimited,
        "throttlingburstrate": RateLimited,
        "throttlingallocationquota": RateLimited,  # or a quota that is used up: the breaker tells
        "limitrequests": RateLimited,
        # nothing says that no task was created
        "requesttimeout": OutcomeUnknown,
        "internalerror": OutcomeUnknown,
        "internalerroralgo": OutcomeUnknown,
        "internalerrortimeout": OutcomeUnknown,
        "systemerror": OutcomeUnknown,
        "modelservicefailed": OutcomeUnknown,
        "modelunavailable": OutcomeUnknown,
        "serviceunavailable": OutcomeUnknown,
    }
)
"""Error codes, lower case and without ``._-``: some doors of the provider spell them in snake case."""

_FOR_CALLERS = (BadRequest, ContentBlocked, ModelGone)
"""What callers are told in the provider's own words; the rest speaks of the operator's account."""


def classify(response: Response) -> Verdict:
    """What an error means, by the code in its body; also of one that came with HTTP 200.

    408, 499 and 5xx prove nothing, whatever their code says; but a model that is gone is gone at any status.
    """
    try:
        body = response.json()
    except ValueError:
        return None
    code, message = _said(body)
    kind = _kind(code, message)
    doubtful = response.status_code in (408, 499) or response.status_code >= 500
    if kind is None or (doubtful and kind is not ModelGone):
        return None
    return kind, message if issubclass(kind, _FOR_CALLERS) else ""


def error_code(response: Response) -> str | None:
    """The normalised code of an error, or None."""
    try:
        code, _ = _said(response.json())
    except ValueError:
        return None
    return _plain(code) or None


def _said(body: Any) -> tuple[str, str]:
    """Code and message, from the flat form or from the nested one."""
    if not isinstance(body, dict):
        return "", ""
    error = body["error"] if isinstance(body.get("error"), dict) else body
    return str(error.get("code") or ""), str(error.get("message") or "")


def _plain(code: str) -> str:
    return re.sub(r"[._-]", "", code.lower())


def _kind(code: str, message: str) -> type[ProviderError] | None:
    if "model not exist" in message.lower():  # comes as InvalidParameter
        return ModelGone
    return _CODES.get(_plain(code))


# --- statuses -------------------------------------------------------------------------------------


def snapshot(reply: TaskReply) -> Snapshot | None:
    """Where a task stands; None for an answer without a status.

    Raises:
        UnexpectedReply: a success without a URL.
    """
    output = reply.output
    if output is None or output.task_status is None:
        return None
    match output.task_status:
        case "PENDING" | "SUSPENDED":
            return Queued()
        case "SUCCEEDED":
            return _success(output, reply.usage or TaskUsage())
        case "FAILED":
            return _failure(output)
        case "CANCELED":
            return Stopped()
        case "UNKNOWN":
            return _forgotten(output)
        case _:  # RUNNING, and any word that may be added: the core's deadline bounds it
            return Running()


def _success(output: TaskOutput, usage: TaskUsage) -> Succeeded:
    if not output.video_url:
        raise UnexpectedReply(f"{PROVIDER} says that task {output.task_id} succeeded, and gives no URL.")
    return Succeeded(url=output.video_url, usage=Usage(seconds=usage.seconds))


def _failure(output: TaskOutput) -> Failed:
    """Failed calls are free."""
    code, message = output.code or "", output.message or "no reason given"
    said = " ".join(message.split())[:300]
    words = f"{PROVIDER} gave the job up; nothing is billed. It said ({code or 'no code'}): {said}"
    kind = _kind(code, message)
    if kind is not None and issubclass(kind, BadRequest | ContentBlocked):
        return Failed(code=kind.code, message=words, user_fault=True)
    return Failed(code="gave_up", message=words)


def _forgotten(output: TaskOutput) -> Failed:
    """Over 24 hours old, or of another region or workspace: it was created, and is billed if it was made."""
    return Failed(
        code="job_lost",
        message=f"{PROVIDER} no longer knows task {output.task_id}; it keeps tasks for 24 hours. It may have"
        " billed this one.",
        billed=True,
    )
