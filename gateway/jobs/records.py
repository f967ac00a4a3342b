"""Reading what is recorded: videos with their attempts, events and artefacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gateway.db.tables import artefacts, attempts, events, videos
from gateway.spec import Plan, VideoRequest

LATENCY_PARTS = (
    "queued_ms",
    "submit_ms",
    "provider_queue_ms",
    "render_ms",
    "detection_lag_ms",
    "transfer_ms",
    "store_ms",
    "total_ms",
)


class VideoNotFound(Exception):
    """There is no such video, or it is another tenant's: the two are not told apart."""


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt to make a video; ``latency`` in milliseconds, None where a part did not occur."""

    id: str
    number: int
    state: str
    model: str
    offer: str
    adapter: str
    preset: str
    price_version: str
    output: Mapping[str, Any]
    estimate_micro_usd: int
    actual_micro_usd: int | None
    stage: str | None
    error_code: str | None
    error_message: str | None
    latency: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One video as its owner may see it; the last attempt is the one that counts."""

    id: str
    tenant_id: str
    status: str
    progress: int
    request: VideoRequest
    plan: Plan
    tier: str
    model: str
    size: str
    clip_ms: int
    estimate_micro_usd: int
    hold_micro_usd: int
    charge_micro_usd: int | None
    created_at: datetime
    completed_at: datetime | None
    deadline_at: datetime
    remixed_from: str | None
    error_code: str | None
    error_message: str | None
    notes: Sequence[Mapping[str, str]]
    attempts: tuple[AttemptRecord, ...]

    @property
    def terminal(self) -> bool:
        """True once nothing more will happen."""
        return self.status in ("completed", "failed")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a video's history; ``seq`` counts from 1 without gaps."""

    seq: int
    type: str
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A stored file of a video; ``key`` is its place in the object store."""

    variant: str
    key: str
    sha256: str
    bytes: int
    media_type: str
    deleted: bool


def get_video(connection: sa.Connection, tenant_id: str, video_id: str) -> VideoRecord:
    """One video of this tenant.

    Raises:
        VideoNotFound: unknown, deleted, or another tenant's.
    """
    query = _living(tenant_id).where(videos.c.id == video_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise VideoNotFound(video_id)
    return _with_attempts(connection, [row])[0]


def list_videos(
    connection: sa.Connection, tenant_id: str, *, after: str | None, limit: int, ascending: bool
) -> tuple[list[VideoRecord], bool]:
    """A page of a tenant's videos by age, and whether more follow.

    Raises:
        VideoNotFound: ``after`` is not a video of this tenant.
    """
    query = _living(tenant_id)
    if after is not None:
        known = sa.select(videos.c.id).where(videos.c.tenant_id == tenant_id, videos.c.id == after)
        if connection.execute(known).one_or_none() is None:
            raise VideoNotFound(after)
        query = query.where(videos.c.id > after if ascending else videos.c.id < after)
    order = videos.c.id.asc() if ascending else videos.c.id.desc()
    rows = connection.execute(query.order_by(order).limit(limit + 1)).all()
    return _with_attempts(connection, rows[:limit]), len(rows) > limit


def events_after(connection: sa.Connection, video_id: str, seq: int, limit: int = 200) -> list[Event]:
    """The events of a video after number ``seq``, oldest first."""
    query = (
        sa.select(events)
        .where(events.c.video_id == video_id, events.c.seq > seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    return [
        Event(seq=row.seq, type=row.type, data=row.data, created_at=row.created_at)
        for row in connection.execute(query)
    ]


def get_artefact(connection: sa.Connection, video_id: str, variant: str) -> Artefact | None:
    """The stored file of this variant, or None while there is none."""
    query = sa.select(artefacts).where(artefacts.c.video_id == video_id, artefacts.c.variant == variant)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return Artefact(
        variant=row.variant,
        key=row.key,
        sha256=row.sha256,
        bytes=row.bytes,
        media_type=row.media_type,
        deleted=row.deleted_at is not None,
    )


def queue_place(connection: sa.Connection, video_id: str) -> int | None:
    """How many jobs of the same pool wait before this video's; None once it is not waiting."""
    mine = connection.execute(
        sa.select(attempts.c.pool, attempts.c.id, attempts.c.priority).where(
            attempts.c.video_id == video_id, attempts.c.state == "planned", attempts.c.pool.is_not(None)
        )
    ).one_or_none()
    if mine is None:
        return None
    earlier = (attempts.c.priority < mine.priority) | (
        (attempts.c.priority == mine.priority) & (attempts.c.id < mine.id)
    )
    before = sa.select(sa.func.count()).where(
        attempts.c.pool == mine.pool, attempts.c.state == "planned", earlier
    )
    return int(connection.execute(before).scalar_one())


def _living(tenant_id: str) -> sa.Select[Any]:
    return sa.select(videos).where(videos.c.tenant_id == tenant_id, videos.c.deleted_at.is_(None))


def _with_attempts(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[VideoRecord]:
    query = (
        sa.select(attempts)
        .where(attempts.c.video_id.in_([row.id for row in rows]))
        .order_by(attempts.c.video_id, attempts.c.number)
    )
    by_video: dict[str, list[AttemptRecord]] = {row.id: [] for row in rows}
    for attempt in connection.execute(query):
        by_video[attempt.video_id].append(_attempt_record(attempt))
    return [_video_record(row, tuple(by_video[row.id])) for row in rows]


def _attempt_record(row: sa.Row[Any]) -> AttemptRecord:
    fields = {name: getattr(row, name) for name in AttemptRecord.__dataclass_fields__ if name != "latency"}
    return AttemptRecord(**fields, latency={part: getattr(row, part) for part in LATENCY_PARTS})


def _video_record(row: sa.Row[Any], tries: tuple[AttemptRecord, ...]) -> VideoRecord:
    derived = {"request", "plan", "attempts"}
    fields = {name: getattr(row, name) for name in VideoRecord.__dataclass_fields__ if name not in derived}
    return VideoRecord(
        **fields,
        request=VideoRequest.model_validate(row.request),
        plan=Plan.model_validate(row.plan),
        attempts=tries,
    )
