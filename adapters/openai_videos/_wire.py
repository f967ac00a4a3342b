"""The Videos API on the wire: OpenAI's own words, and how each other kind of server departs from them.

Strict out, lenient in. Sources: openai-python 3.51.0 and openai/openai-openapi of 2026-08-21 for OpenAI and
Azure; vLLM-Omni 0.30, SGLang 0.5.23 and LiteLLM 1.109 for the others; docs/reference/api.md for a Reelgate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

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
    Size,
    Snapshot,
    Stopped,
    Succeeded,
    Unavailable,
    Unsupported,
    Usage,
)

Flavour = Literal["openai", "azure", "vllm_omni", "sglang", "litellm", "reelgate"]

_STEPS = frozenset({"num_inference_steps", "guidance_scale"})
_WAN = frozenset({"guidance_scale_2", "boundary_ratio", "flow_shift"})
_SERVED = frozenset({"fps", "num_frames", "seed", "negative_prompt"}) | _STEPS


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What sets one kind of server apart from OpenAI's own.

    ``takes``: fields beyond prompt, model, seconds, size and the image.  ``lists``: its list tells two jobs
    apart.  ``idempotent``: it knows an ``Idempotency-Key``.  ``cancels``: the call that stops a job.
    ``bills``: its ``seconds`` are those it charges for.  ``forgets``: it keeps its jobs in memory only.
    """

    title: str
    base_url: str | None = None
    key_header: Literal["Authorization", "api-key"] = "Authorization"
    needs_key: bool = True
    takes: frozenset[str] = frozenset()
    lists: bool = False
    idempotent: bool = False
    cancels: Literal["POST", "DELETE"] | None = None
    bills: bool = True
    forgets: bool = False


DIALECTS: Mapping[Flavour, Dialect] = {
    "openai": Dialect(title="OpenAI", base_url="https://api.openai.com/v1", lists=True),
    "azure": Dialect(title="Azure OpenAI", key_header="api-key", lists=True),
    "vllm_omni": Dialect(
        title="vLLM-Omni",
        needs_key=False,
        takes=_SERVED | _WAN | {"generate_sound"},
        lists=True,
        cancels="DELETE",
        bills=False,
        forgets=True,
    ),
    "sglang": Dialect(title="SGLang", needs_key=False, takes=_SERVED, bills=False, forgets=True),
    "litellm": Dialect(title="LiteLLM", needs_key=False),
    "reelgate": Dialect(
        title="Reelgate",
        takes=frozenset({"fps", "seed", "negative_prompt", "audio", "last_frame"}),
        idempotent=True,
        cancels="POST",
    ),
}


class Order(BaseModel):
    """The fields of a create, images aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1, max_length=32_000)
    model: str
    seconds: str | None = Field(default=None, pattern=r"^\d+(\.\d+)?$")
    size: Size
    fps: int | None = None
    num_frames: int | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    audio: bool | None = None
    generate_sound: bool | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_scale_2: float | None = None
    boundary_ratio: float | None = None
    flow_shift: float | None = None

    def parts(self) -> list[tuple[str, tuple[None, str]]]:
        """The parts of a multipart body, which every kind of server takes and OpenAI's SDK always sends."""
        given = self.model_dump(exclude_none=True)
        return [
            (name, (None, json.dumps(value) if isinstance(value, bool) else str(value)))
            for name, value in given.items()
        ]


def seconds_text(seconds: Decimal) -> str:
    """``8``, not ``8.0`` or ``1E+1``."""
    return f"{seconds.normalize():f}"


Known = TypeVar("Known")


def _if_sound(value: Any, read: Callable[[Any], Known]) -> Known | None:
    try:
        return read(value)
    except ValueError:  # pydantic's own is one: what cannot be read is as if it were not there
        return None


Text: TypeAlias = Annotated[str | None, WrapValidator(_if_sound)]
Number: TypeAlias = Annotated[float | None, WrapValidator(_if_sound)]


class Trouble(BaseModel):
    """Why a call or a job failed. vLLM-Omni's codes may be HTTP statuses, SGLang gives none."""

    code: Annotated[str | int | None, WrapValidator(_if_sound)] = None
    message: Text = None


class Video(BaseModel):
    """A job as a server shows it; nothing in it is sure to be there."""

    id: Text = None
    status: Text = None
    progress: Number = None
    created_at: Number = None
    model: Text = None
    prompt: Text = None
    seconds: Annotated[Decimal | None, WrapValidator(_if_sound)] = None
    size: Text = None
    url: Text = None
    error: Annotated[Trouble | None, WrapValidator(_if_sound)] = None


def body_of(response: Response) -> dict[str, Any]:
    """The JSON object in an answer of whatever status, empty if there is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def trouble_in(response: Response) -> Trouble:
    """What an error answer says: OpenAI's envelope, or FastAPI's ``detail`` (vLLM-Omni, SGLang)."""
    body = body_of(response)
    error = body.get("error", body.get("detail"))
    if isinstance(error, dict):
        return Trouble.model_validate(error)
    return Trouble(message=error if isinstance(error, str) else None)


_BY_CODE: Mapping[str | int | None, type[ProviderError]] = {
    "moderation_blocked": ContentBlocked,
    "content_policy_violation": ContentBlocked,
    "content_blocked": ContentBlocked,
    "billing_hard_limit_reached": OutOfCredit,
    "insufficient_quota": OutOfCredit,
    "billing_not_active": OutOfCredit,
    "budget_exceeded": OutOfCredit,
    "invalid_api_key": NotAuthorised,
    "unsupported_country_region_territory": NotAuthorised,
    "model_not_found": ModelGone,
    "rate_limit_exceeded": RateLimited,
    "idempotency_key_in_flight": OutcomeUnknown,
    "idempotency_key_reused": BadRequest,
}

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: BadRequest,
    401: NotAuthorised,
    403: NotAuthorised,
    404: ModelGone,  # a create goes to a fixed address: what is not there is the model, or the whole API
    409: Unavailable,
    410: ModelGone,
    413: BadRequest,
    422: BadRequest,
}

_BLOCKED = frozenset(code for code, kind in _BY_CODE.items() if kind is ContentBlocked)


def create_verdict(response: Response, dialect: Dialect) -> Verdict:
    """What a refused create means: by its code, else by its status; None where the kit's own rules hold."""
    trouble = trouble_in(response)
    kind = _BY_CODE.get(trouble.code) or _BY_STATUS.get(response.status_code)
    if kind is ModelGone and trouble.code not in _BY_CODE and dialect.base_url is None:
        kind = Unsupported  # of a server at an address of the operator's it may be the address that is wrong
    if kind is None:
        return None
    if response.status_code == 422 and dialect.idempotent and trouble.code not in _BY_CODE:
        kind = Unsupported  # a Reelgate's plan found no way: another candidate may
    # OpenAI's words about a key quote the key
    return kind, "" if kind is NotAuthorised else trouble.message or ""


def is_lost(response: Response, dialect: Dialect) -> bool:
    """True if a server that keeps its jobs in memory says that it has no such job (any more)."""
    gone = response.status_code == 404 and trouble_in(response).message == "Video not found"
    return dialect.forgets and gone


def snapshot(video: Video, dialect: Dialect, *, content_url: str, poll_after_ms: int | None) -> Snapshot:
    """What a job's object says; ``content_url`` is where its clip can be had."""
    match video.status:
        case "queued":
            return Queued(poll_after_ms=poll_after_ms)
        case "completed":
            return Succeeded(url=content_url, usage=Usage(seconds=_billed(video) if dialect.bills else None))
        case "failed":
            return _failure(video.error or Trouble(), dialect)
        case "cancelled" | "deleted":
            return Stopped()
        case _:  # in_progress, LiteLLM's processing, SGLang's cancelling: the core's deadline bounds them
            progress = None if video.progress is None else min(100, max(0, int(video.progress)))
            return Running(progress=progress, poll_after_ms=poll_after_ms)


def _billed(video: Video) -> Decimal | None:
    return video.seconds if video.seconds is not None and 0 < video.seconds < 86_400 else None


def _failure(trouble: Trouble, dialect: Dialect) -> Snapshot:
    if trouble.code == "cancelled" and dialect.cancels == "POST":
        return Stopped()
    said = " ".join((trouble.message or "").split())[:300] or "It gave no reason."
    if trouble.code in _BLOCKED:
        message = f"{dialect.title} refused the content: {said}"
        return Failed(code="content_blocked", message=message, user_fault=True)
    return Failed(code="gave_up", message=f"{dialect.title} gave the job up: {said}")
