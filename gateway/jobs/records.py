"""Reading what is recorded: videos with their attempts, events and artefacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Self

import sqlalchemy as sa

from gateway.db.keys import Caller
from gateway.db.tables import artefacts, attempts, events, videos
from gateway.spec import Plan, VideoRequest

CHECKPOINT = "checkpoint"
"""The variant of the artefact that holds a prefix preview's state: to be gone on from, not downloaded."""

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
    account: str
    preset: str
    pool: str | None
    priority: int
    stage: str | None
    error_code: str | None
    error_message: str | None
    latency: Mapping[str, int | None]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a reply tells of a plan; ``candidates`` and ``dropped`` are their numbers."""

    policy: str
    branch: str
    reason: str
    eta_ms: int | None
    candidates: int
    dropped: int

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """In short what was decided; the plan has chosen something."""
        assert plan.chosen is not None
        return cls(
            policy=plan.policy,
            branch=plan.branch,
            reason=plan.chosen.reason,
            eta_ms=plan.chosen.eta_ms,
            candidates=len(plan.candidates),
            dropped=len(plan.dropped),
        )


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One video as its owner may see it; the last attempt is the one that counts."""

    id: str
    status: str
    progress: int
    prompt: str
    mode: str
    tier: str
    model: str
    size: str
    clip_ms: int
    estimate_micro_usd: int
    hold_micro_usd: int
    charge_micro_usd: int | None
    created_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    parked: bool
    livemode: bool
    remixed_from: str | None
    continued_from: str | None
    finalized_from: str | None
    continuity: str | None
    lineage_id: str | None
    continuable: bool
    error_code: str | None
    error_message: str | None
    notes: Sequence[Mapping[str, str]]
    decision: Decision
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


def get_video(connection: sa.Connection, caller: Caller, video_id: str) -> VideoRecord:
    """One video of this caller: of its tenant, and made in the mode of its key.

    Raises:
        VideoNotFound: unknown, deleted, or not this caller's.
    """
    mine = {"tenant_id": caller.tenant_id, "livemode": caller.livemode, "video_id": video_id}
    rows = connection.execute(_ONE, mine).all()
    if not rows:
        raise VideoNotFound(video_id)
    return _video_record(rows)


def accepted_video(row: Mapping[str, Any], plan: Plan, attempt_id: str) -> VideoRecord:
    """What :func:`get_video` finds of a video just inserted as ``row``, but for its place in a queue."""
    assert plan.chosen is not None
    first = AttemptRecord(
        id=attempt_id,
        number=1,
        state="planned",
        model=plan.chosen.model,
        offer=plan.chosen.offer,
        adapter=plan.chosen.adapter,
        account=plan.chosen.account,
        preset=plan.chosen.preset,
        pool=None,
        priority=0,
        stage=None,
        error_code=None,
        error_message=None,
        latency=dict.fromkeys(LATENCY_PARTS),
    )
    fields: dict[str, Any] = {name: row.get(name) for name in _VIDEO_FIELDS}
    return VideoRecord(
        **fields,
        prompt=row["request"]["prompt"],
        continuable=False,
        decision=Decision.of(plan),
        attempts=(first,),
    )


def get_request(connection: sa.Connection, caller: Caller, video_id: str) -> VideoRequest:
    """What was asked for with a video of this caller.

    Raises:
        VideoNotFound: unknown, deleted, or not this caller's.
    """
    query = sa.select(videos.c.request).where(videos.c.id == video_id, *_living_of(caller))
    asked = connection.execute(query).scalar_one_or_none()
    if asked is None:
        raise VideoNotFound(video_id)
    return VideoRequest.model_validate(asked)


def list_videos(
    connection: sa.Connection, caller: Caller, *, after: str | None, limit: int, ascending: bool
) -> tuple[list[VideoRecord], bool]:
    """A page of a caller's videos by age, and whether more follow.

    Raises:
        VideoNotFound: ``after`` is not a video of this caller.
    """
    query = sa.select(videos.c.id).where(*_living_of(caller))
    if after is not None:
        known = sa.select(videos.c.id).where(*_owned_by(caller), videos.c.id == after)
        if connection.execute(known).one_or_none() is None:
            raise VideoNotFound(after)
        query = query.where(videos.c.id > after if ascending else videos.c.id < after)
    order = videos.c.id.asc() if ascending else videos.c.id.desc()
    found = connection.execute(query.order_by(order).limit(limit + 1)).scalars().all()
    page = _RECORDS.where(videos.c.id.in_(found[:limit])).order_by(order, attempts.c.number)
    rows = connection.execute(page).all()
    by_video = groupby(rows, key=lambda row: row[0])
    return [_video_record(list(of_one)) for _, of_one in by_video], len(found) > limit


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


def queue_place(connection: sa.Connection, record: VideoRecord) -> int | None:
    """How many jobs of the same pool wait before this video's; None once it is not waiting."""
    mine = record.attempts[-1] if record.attempts else None
    if mine is None or mine.state != "planned" or mine.pool is None:
        return None
    place = connection.execute(_BEFORE, {"pool": mine.pool, "priority": mine.priority, "id": mine.id})
    return int(place.scalar_one())


def _owned_by(caller: Caller) -> tuple[sa.ColumnElement[bool], ...]:
    return videos.c.tenant_id == caller.tenant_id, videos.c.livemode == caller.livemode


def _living_of(caller: Caller) -> tuple[sa.ColumnElement[bool], ...]:
    return *_owned_by(caller), videos.c.deleted_at.is_(None)


# What a reply needs and no more: a plan may be long, and reading a video is what clients do most. Each
# statement is built once, because building costs more than running it.
_VIDEO_FIELDS = tuple(
    name
    for name in VideoRecord.__dataclass_fields__
    if name not in ("prompt", "continuable", "decision", "attempts")
)
_ATTEMPT_FIELDS = tuple(name for name in AttemptRecord.__dataclass_fields__ if name != "latency")
_DECISION = {
    "policy": videos.c.plan["policy"].as_string(),
    "branch": videos.c.plan["branch"].as_string(),
    "reason": videos.c.plan["chosen", "reason"].as_string(),
    "eta_ms": sa.cast(videos.c.plan["chosen", "eta_ms"].as_string(), sa.BigInteger),
    "candidates": sa.func.json_array_length(videos.c.plan["candidates"]),
    "dropped": sa.func.json_array_length(videos.c.plan["dropped"]),
}
_LIVING_CHECKPOINT = (
    (artefacts.c.video_id == videos.c.id)
    & (artefacts.c.variant == CHECKPOINT)
    & artefacts.c.deleted_at.is_(None)
)
_RECORDS: sa.Select[Any] = (
    sa.select(
        *(videos.c[name] for name in _VIDEO_FIELDS),
        videos.c.request["prompt"].as_string(),
        artefacts.c.id.is_not(None),
        *_DECISION.values(),
        *(attempts.c[name] for name in (*_ATTEMPT_FIELDS, *LATENCY_PARTS)),
    )
    .join(attempts, attempts.c.video_id == videos.c.id, isouter=True)
    .join(artefacts, _LIVING_CHECKPOINT, isouter=True)
)
_ONE = _RECORDS.where(
    videos.c.id == sa.bindparam("video_id"),
    videos.c.tenant_id == sa.bindparam("tenant_id"),
    videos.c.livemode == sa.bindparam("livemode"),
    videos.c.deleted_at.is_(None),
).order_by(attempts.c.number)
_BEFORE = sa.select(sa.func.count()).where(
    attempts.c.pool == sa.bindparam("pool"),
    attempts.c.state == "planned",
    (attempts.c.priority < sa.bindparam("priority"))
    | ((attempts.c.priority == sa.bindparam("priority")) & (attempts.c.id < sa.bindparam("id"))),
)
_PROMPT_AT = len(_VIDEO_FIELDS)
_CONTINUABLE_AT = _PROMPT_AT + 1
_ATTEMPT_AT = _CONTINUABLE_AT + 1 + len(_DECISION)
_LATENCY_AT = _ATTEMPT_AT + len(_ATTEMPT_FIELDS)


def _video_record(rows: Sequence[sa.Row[Any]]) -> VideoRecord:
    """One video from its rows, one for each attempt."""
    first = rows[0]
    return VideoRecord(
        **dict(zip(_VIDEO_FIELDS, first[:_PROMPT_AT], strict=True)),
        prompt=first[_PROMPT_AT],
        continuable=first[_CONTINUABLE_AT],
        decision=Decision(**dict(zip(_DECISION, first[_CONTINUABLE_AT + 1 : _ATTEMPT_AT], strict=True))),
        attempts=tuple(_attempt_record(row) for row in rows if row[_ATTEMPT_AT] is not None),
    )


def _attempt_record(row: sa.Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        **dict(zip(_ATTEMPT_FIELDS, row[_ATTEMPT_AT:_LATENCY_AT], strict=True)),
        latency=dict(zip(LATENCY_PARTS, row[_LATENCY_AT:], strict=True)),
    )
