"""Kling's bodies: strict in what leaves, lenient in what comes (spec A.3 to A.7)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

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
    Succeeded,
    UnexpectedReply,
)

Ratio = Literal["16:9", "9:16", "1:1"]
Resolution = Literal["720p", "1080p", "4k"]


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LegacyOrder(_Out):
    """The older API: text2video and image2video. Images are base64 without a ``data:`` prefix."""

    model_name: str
    prompt: str = Field(max_length=2500)
    negative_prompt: str | None = Field(default=None, max_length=2500)
    mode: Literal["std", "pro", "4k"]
    sound: Literal["on", "off"] | None = None
    duration: str = Field(pattern=r"^([3-9]|1[0-5])$")
    aspect_ratio: Ratio | None = None
    image: str | None = None
    image_tail: str | None = None
    callback_url: str | None = None
    external_task_id: str


class Content(_Out):
    """A part of what a task is made from; ``url`` is a URL or base64."""

    type: Literal["prompt", "first_frame", "last_frame", "refer_image"]
    text: str | None = None
    url: str | None = None


class TaskSettings(_Out):
    """The shape of the clip; what a model has no parameter for stays None and is not sent."""

    resolution: Resolution
    aspect_ratio: Ratio | None = None
    duration: int = Field(ge=3, le=15)
    audio: Literal["native", "off"] | None = None
    multi_shot: bool | None = None


class TaskOptions(_Out):
    """Our id of the task, and where Kling may call back."""

    external_task_id: str
    callback_url: str | None = None


class TaskOrder(_Out):
    """The API of 2026: ``prompt`` for text-to-video, ``contents`` for all else."""

    prompt: str | None = None
    contents: tuple[Content, ...] | None = None
    settings: TaskSettings
    options: TaskOptions


class _In(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


def _amount_or_none(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


_Amount = Annotated[Decimal | None, BeforeValidator(_amount_or_none)]


class _TaskInfo(_In):
    external_task_id: str | None = None


class _Video(_In):
    type: str | None = None
    url: str | None = None


class _LegacyResult(_In):
    videos: list[_Video] | None = None


class LegacyTask(_In):
    """A task as the older API shows it."""

    id: str | None = Field(default=None, alias="task_id")
    status: str | None = Field(default=None, alias="task_status")
    reason: str | None = Field(default=None, alias="task_status_msg")
    info: _TaskInfo | None = Field(default=None, alias="task_info")
    result: _LegacyResult | None = Field(default=None, alias="task_result")
    units: _Amount = Field(default=None, alias="final_unit_deduction")

    @property
    def tag(self) -> str | None:
        """Our id of it."""
        return self.info.external_task_id if self.info else None

    @property
    def url(self) -> str | None:
        """Where the clip lies."""
        videos = (self.result.videos if self.result else None) or []
        return next((video.url for video in videos if video.url), None)

    @property
    def billed(self) -> bool:
        """Kling says that it took units for it."""
        return bool(self.units)


class _Bill(_In):
    amount: _Amount = None


class Task(_In):
    """A task as the API of 2026 shows it."""

    id: str | None = None
    status: str | None = None
    reason: str | None = Field(default=None, alias="message")
    tag: str | None = Field(default=None, alias="external_id")
    outputs: list[_Video] | None = None
    billing: list[_Bill] | None = None

    @property
    def url(self) -> str | None:
        """Where the clip lies."""
        videos = [one for one in self.outputs or [] if one.type in (None, "video")]
        return next((video.url for video in videos if video.url), None)

    @property
    def billed(self) -> bool:
        """Kling says that it took units or money for it."""
        return any(line.amount for line in self.billing or [])


class Page(_In):
    """A page of the list of tasks."""

    result: list[Task] | None = None
    next_cursor: str | None = None
    has_more: bool | None = None


In = TypeVar("In")


def read(shape: type[In], data: Any) -> In:
    """What Kling answered, as ``shape``.

    Raises:
        UnexpectedReply: it has another shape.
    """
    try:
        return TypeAdapter(shape).validate_python(data)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, one["loc"])) or "data" for one in error.errors())
        raise UnexpectedReply(
            "Kling's answer is not of the documented shape.",
            operator_detail=f"Kling's answer: wrong at {where}",
        ) from None


_CONTENT_WORDS = ("risk", "sensitive", "policy", "content", "审核")


def snapshot(task: LegacyTask | Task, *, failure_words: bool) -> Snapshot:
    """What has become of a task. An undocumented word means that it goes on: the deadline bounds it.

    The seconds that come back are the file's (``5.041``), those that are billed the ones that were ordered:
    so no usage is told.

    Raises:
        UnexpectedReply: it succeeded, and there is no clip.
    """
    match task.status:
        case "submitted":
            return Queued()
        case "succeed" | "succeeded":
            if task.url is None:
                raise UnexpectedReply(f"Kling's task {task.id} succeeded, and the answer names no clip.")
            return Succeeded(url=task.url)
        case "failed":
            return _failed(task.reason or "", task.billed, failure_words)
        case _:
            return Running()


def _failed(reason: str, billed: bool, failure_words: bool) -> Failed:
    said = f" It said: {' '.join(reason.split())[:300]}" if reason else " It gave no reason."
    if failure_words and any(word in reason.lower() for word in _CONTENT_WORDS):
        message = f"Kling's content rules stopped the job.{said}"
        return Failed(code="content_blocked", message=message, user_fault=True, billed=billed)
    return Failed(code="gave_up", message=f"Kling gave the job up.{said}", billed=billed)


class NoSuchTask(UnexpectedReply):
    """Kling does not know the task that was asked for."""


class WrongParameter(BadRequest):
    """A create was refused for a parameter: which may be our id of the task, used before (spec A.10)."""


TOKEN_EXPIRED = 1004

ERRORS: Mapping[int, tuple[type[ProviderError], str]] = {
    1000: (NotAuthorised, "authentication failed"),
    1001: (NotAuthorised, "the Authorization header is empty"),
    1002: (NotAuthorised, "the key or token is not valid"),
    1003: (NotAuthorised, "the token is not valid yet: is this machine's clock right?"),
    TOKEN_EXPIRED: (NotAuthorised, "the key or token has expired"),
    1100: (OutOfCredit, "there is something wrong with the account"),
    1101: (OutOfCredit, "the account is in arrears"),
    1102: (OutOfCredit, "the resource pack is used up or has expired"),
    1103: (NotAuthorised, "the account may not use this API or model"),
    1200: (BadRequest, "the request is not valid"),
    1201: (WrongParameter, "a parameter is not valid"),
    1202: (BadRequest, "the method is not valid"),
    1203: (ModelGone, "the model does not exist"),
    1300: (ContentBlocked, "it is against the platform's policy"),
    1301: (ContentBlocked, "it is against the content rules"),
    1302: (RateLimited, "calls come too fast"),
    1303: (RateLimited, "as many jobs run as the resource pack allows"),
    1304: (NotAuthorised, "this machine's address is not on the account's list"),
    5000: (OutcomeUnknown, "an internal error"),
    5001: (OutcomeUnknown, "unavailable for now"),
    5002: (OutcomeUnknown, "it took too long"),
}
"""Spec A.7, by code and never by HTTP status. After 5xxx on a create there may be a task, or none."""

_ABOUT_THE_INPUT = (BadRequest, WrongParameter, ContentBlocked)


def classify(response: Response, *, creating: bool) -> Verdict:
    """What Kling's own code means; None where it is not documented, or not for such a call."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, int) or code not in ERRORS:
        return None
    kind, words = ERRORS[code]
    if not creating and code in (1201, 1203):
        return NoSuchTask, f"it knows no such task (code {code})."
    if not creating and kind in (*_ABOUT_THE_INPUT, ModelGone):
        return None
    said = body.get("message") if kind in _ABOUT_THE_INPUT else None
    return kind, f"{words} (code {code})" + (f": {said}" if isinstance(said, str) and said else ".")
