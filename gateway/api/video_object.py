"""A video as OpenAI's object, with what a gateway knows beyond it under the one key ``gateway``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gateway.catalog.prices import from_micro_usd
from gateway.jobs.records import LATENCY_PARTS, AttemptRecord, VideoRecord

POLL_AFTER_HEADER = "openai-poll-after-ms"
"""How long a client should wait before its next look; the openai SDK honours it."""

_MIN_POLL_MS, _DEFAULT_POLL_MS, _MAX_POLL_MS = 250, 1000, 5000
_LOOKS_LEFT = 4  # a client that keeps the first interval it is told still sees about this many states


class _Reply(BaseModel):
    """What the API's description says of a reply; replies themselves are built as plain JSON values."""

    model_config = ConfigDict(frozen=True)


class VideoError(_Reply):
    """Why a video, or an attempt at it, failed."""

    code: str
    message: str


class PlanSummary(_Reply):
    """The decision in short; POST /v1/videos/plan shows a whole one."""

    policy: str
    branch: str
    reason: str
    candidates: int
    dropped: int


class AttemptSummary(_Reply):
    """One try at making the video."""

    number: int
    state: str
    stage: str | None
    model: str
    offer: str
    adapter: str
    preset: str
    error: VideoError | None


class GatewayPart(_Reply):
    """What OpenAI's object has no field for. Money is in US dollars, as decimal strings."""

    model: str
    offer: str | None
    adapter: str | None
    preset: str | None
    mode: str
    tier: str
    plan: PlanSummary
    estimate_usd: str
    hold_usd: str
    charge_usd: str | None
    eta_ms: int | None
    queue_place: int | None
    parked: bool
    continuable: bool
    continuity: str | None
    lineage_id: str | None
    latency: dict[str, int | None]
    notes: list[dict[str, str]]
    attempts: list[AttemptSummary]


class Video(_Reply):
    """OpenAI's video object."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None = None
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: str | None
    continued_from_video_id: str | None
    finalized_from_video_id: str | None
    livemode: bool
    error: VideoError | None
    gateway: GatewayPart


def video_object(record: VideoRecord, queue_place: int | None = None) -> dict[str, Any]:
    """The object as JSON values; ``queue_place``: how many jobs wait before this one."""
    return {
        "id": record.id,
        "object": "video",
        "model": record.model,
        "status": record.status,
        "progress": record.progress,
        "created_at": int(record.created_at.timestamp()),
        "completed_at": _seconds(record.completed_at),
        "expires_at": _seconds(record.expires_at),
        "prompt": record.prompt,
        "seconds": seconds_text(record.clip_ms),
        "size": record.size,
        "remixed_from_video_id": record.remixed_from,
        "continued_from_video_id": record.continued_from,
        "finalized_from_video_id": record.finalized_from,
        "livemode": record.livemode,
        "error": _error(record.error_code, record.error_message),
        "gateway": _gateway_part(record, queue_place),
    }


def poll_after_ms(video: Mapping[str, Any], now: float) -> int | None:
    """When to ask again, from progress or the estimate; None once the video is finished.

    The OpenAI SDK keeps the first value it is told for the whole wait, so it is a share of what is left.
    """
    if video["status"] in ("completed", "failed"):
        return None
    created: int = video["created_at"]
    elapsed = max(0.0, (now - created) * 1000)
    progress: int = video["progress"]
    eta: int | None = video["gateway"]["eta_ms"]
    guesses = []
    if eta is not None:
        guesses.append(max(eta - elapsed, elapsed / 2))  # overdue: expect half as long again
    if progress > 0:
        guesses.append(elapsed * (100 - progress) / progress)  # too long where it waited in a queue first
    if not guesses:
        return _DEFAULT_POLL_MS
    return round(min(max(min(guesses) / _LOOKS_LEFT, _MIN_POLL_MS), _MAX_POLL_MS))


def seconds_text(milliseconds: int) -> str:
    """``4000`` as ``"4"``, ``4500`` as ``"4.5"``."""
    return f"{(Decimal(milliseconds) / 1000).normalize():f}"


def usd_text(micro: int) -> str:
    """Micro-dollars as an exact decimal string."""
    return f"{from_micro_usd(micro):f}"


def _gateway_part(record: VideoRecord, queue_place: int | None) -> dict[str, Any]:
    decision = record.decision
    last = record.attempts[-1] if record.attempts else None
    charge = record.charge_micro_usd
    return {
        "model": record.model,
        "offer": last.offer if last else None,
        "adapter": last.adapter if last else None,
        "preset": last.preset if last else None,
        "mode": record.mode,
        "tier": record.tier,
        "plan": {
            "policy": decision.policy,
            "branch": decision.branch,
            "reason": decision.reason,
            "candidates": decision.candidates,
            "dropped": decision.dropped,
        },
        "estimate_usd": usd_text(record.estimate_micro_usd),
        "hold_usd": usd_text(record.hold_micro_usd),
        "charge_usd": None if charge is None else usd_text(charge),
        "eta_ms": decision.eta_ms,
        "queue_place": queue_place,
        "parked": record.parked and not record.terminal,
        "continuable": record.continuable,
        "continuity": record.continuity,
        "lineage_id": record.lineage_id,
        "latency": dict(last.latency) if last else dict.fromkeys(LATENCY_PARTS),
        "notes": [dict(note) for note in record.notes],
        "attempts": [_attempt(attempt) for attempt in record.attempts],
    }


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "state": attempt.state,
        "stage": attempt.stage,
        "model": attempt.model,
        "offer": attempt.offer,
        "adapter": attempt.adapter,
        "preset": attempt.preset,
        "error": _error(attempt.error_code, attempt.error_message),
    }


def _error(code: str | None, message: str | None) -> dict[str, str] | None:
    return None if code is None else {"code": code, "message": message or ""}
