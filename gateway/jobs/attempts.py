"""The states of an attempt, and the only code that changes them.

::

    planned ──► submitting ──► submitted ──► queued ──► running ──► fetching ──► succeeded      remote
       │            └──► outcome_unknown ──► submitted …   │            │
       └──► running ──► fetching ──► succeeded             └────────────┴──► failed, cancelled  local

Every change names the states it may start from and, where a worker makes it, the fencing token of that
worker's claim: a worker that was taken for dead cannot write over its successor.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import to_micro_usd
from gateway.db import new_id, now
from gateway.db.tables import attempts, videos
from gateway.jobs.events import add_event
from gateway.jobs.resources import RENDER, SETTLE, SUBMIT, Resources, account_queue, pool_queue
from gateway.jobs.shares import class_base, join_queue
from gateway.jobs.work import Way
from gateway.ledger.entries import Parties, provider_estimate
from gateway.spec import Failed, LocalAdapter, Note, Output, Priority, Stopped, Ticket, VideoRequest

UPSTREAM_CHARS = 200

SETTLE_GRACE = timedelta(seconds=60)
"""How long a settle may wait for its turn before the watcher enqueues it again."""

Values = dict[str, Any] | sa.RowMapping

REMOTE_LIVE = ("submitted", "queued", "running")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to an attempt; valid as long as no later claim raised the fence."""

    attempt_id: str
    fence: int


def milliseconds(since: datetime | None, until: datetime) -> int | None:
    """Whole milliseconds between two times; None if the first is not known."""
    return None if since is None else max(0, round((until - since).total_seconds() * 1000))


def plan_attempt(
    connection: sa.Connection,
    resources: Resources,
    way: Way,
    *,
    tenant_id: str,
    video_id: str,
    number: int,
    parked: bool = False,
) -> str:
    """Record an attempt and, unless it is parked, enqueue its start, in the caller's transaction; return its
    id."""
    attempt_id = new_id("att")
    candidate = way.candidate
    local = isinstance(resources.registry.find(candidate.adapter, candidate.account), LocalAdapter)
    estimate = to_micro_usd(candidate.estimate_usd)
    row: dict[str, Any] = {
        "id": attempt_id,
        "video_id": video_id,
        "number": number,
        "kind": "local" if local else "remote",
        "state": "planned",
        "model": candidate.model,
        "offer": candidate.offer,
        "adapter": candidate.adapter,
        "account": candidate.account,
        "preset": candidate.preset,
        "pool": way.offer.pool if local else None,
        "output": candidate.output.model_dump(mode="json"),
        "size": candidate.output.size,
        "clip_ms": clip_ms(candidate.output),
        "tuned": way.tuned,
        "priority": class_base(way.priority),
        "fence": 0,
        "price": way.price.model_dump(mode="json"),
        "price_version": way.price.version,
        "estimate_micro_usd": estimate,
        "notes": [note.model_dump() for note in candidate.notes],
        "created_at": now(),
    }
    if local and not parked:
        row["priority"] = _place(connection, resources, row, tenant_id, way.priority)
    connection.execute(attempts.insert(), row)
    parties = Parties(tenant_id=tenant_id, video_id=video_id, attempt_id=attempt_id)
    provider_estimate(connection, parties, estimate, way.price.version)
    if not parked:
        _enqueue_start(connection, resources, row, row["priority"])
    return attempt_id


def start_planned(connection: sa.Connection, resources: Resources, row: sa.Row[Any]) -> None:
    """Enqueue the start of a planned attempt: on a device pool in fair order between tenants, else by age."""
    priority = row.priority
    if row.kind == "local":
        asked = VideoRequest.model_validate(row.request).priority
        priority = _place(connection, resources, row._mapping, row.tenant_id, asked)
        connection.execute(_PLACED, {"attempt_id": row.id, "place": priority})
    _enqueue_start(connection, resources, row._mapping, priority)


def _place(
    connection: sa.Connection,
    resources: Resources,
    row: Values,
    tenant_id: str,
    priority: Priority,
) -> int:
    """The place of a local attempt in its pool's queue."""
    pool = resources.settings.pools[row["pool"]]
    device_ms = Decimal(row["estimate_micro_usd"]) * 3_600_000 / to_micro_usd(pool.hourly_usd)
    return join_queue(
        connection, row["pool"], tenant_id, priority, device_ms=device_ms, slots=len(pool.devices)
    )


def hand_back(connection: sa.Connection, resources: Resources, row: sa.Row[Any], claim: Claim) -> None:
    """Put an attempt whose process ends, and for which nothing was done yet that would be lost, back where
    another finds it.

    It keeps its checkpoints, and its priority, which is before that of whatever was enqueued since.
    """
    if change(connection, row.id, expect=(row.state,), under=claim.fence, state="planned"):
        again = load(connection, row.id)
        _enqueue_start(connection, resources, again._mapping, again.priority)


def _enqueue_start(connection: sa.Connection, resources: Resources, row: Values, priority: int) -> None:
    local = row["kind"] == "local"
    resources.enqueuer.enqueue(
        connection,
        workflow=RENDER if local else SUBMIT,
        queue=pool_queue(row["pool"]) if local else account_queue(row["adapter"], row["account"]),
        workflow_id=f"start:{row['id']}:{row['fence']}",
        attempt_id=row["id"],
        priority=priority,
    )


def upstream_key(ticket: Ticket) -> str:
    """What an attempt's ``upstream_id`` holds of the provider's own id: so much as an index takes."""
    return ticket.id[:UPSTREAM_CHARS]


def clip_ms(output: Output) -> int:
    """The planned length of a clip in milliseconds."""
    return int(output.seconds * 1000)


# Built once: building a statement costs more than running it.
_PLACED = (
    attempts.update()
    .where(attempts.c.id == sa.bindparam("attempt_id"))
    .values(priority=sa.bindparam("place"))
)
_STORY = (
    sa.select(
        attempts,
        videos.c.tenant_id,
        videos.c.request,
        videos.c.plan,
        videos.c.status,
        videos.c.hold_micro_usd,
        videos.c.deadline_at,
        videos.c.stop_requested_at,
        videos.c.stop_reason,
        videos.c.traceparent,
        videos.c.created_at.label("accepted_at"),
    )
    .join(videos, videos.c.id == attempts.c.video_id)
    .where(attempts.c.id == sa.bindparam("attempt_id"))
)
_STORY_LOCKED = _STORY.with_for_update(of=videos)


def load(connection: sa.Connection, attempt_id: str, *, lock: bool = False) -> sa.Row[Any]:
    """An attempt with what its story needs of its video.

    With ``lock`` the video's row is locked until the transaction ends. Who decides by what is read here asks
    for it, first of all: whatever else concerns this video waits, and all take their locks in one order.
    """
    query = _STORY_LOCKED if lock else _STORY
    return connection.execute(query, {"attempt_id": attempt_id}).one()


def parties_of(row: sa.Row[Any]) -> Parties:
    """Whose money this attempt is about."""
    return Parties(tenant_id=row.tenant_id, video_id=row.video_id, attempt_id=row.id)


def all_notes(row: sa.Row[Any], *more: Note) -> list[dict[str, str]]:
    """The notes of the plan, of the attempt, and what came up since."""
    return [*row.plan["notes"], *row.notes, *(note.model_dump() for note in more)]


def change(
    connection: sa.Connection,
    attempt_id: str,
    *,
    expect: Collection[str],
    under: int | None = None,
    **values: Any,
) -> bool:
    """Update an attempt in one of the expected states (and ``under`` this fence); False if it is not.

    One whose books are closed is never changed again.
    """
    changing = _changing(tuple(expect), under is not None, tuple(values))
    new = {f"new_{name}": value for name, value in values.items()}
    return connection.execute(changing, {"attempt_id": attempt_id, "under": under, **new}).rowcount == 1


@cache
def _changing(expect: tuple[str, ...], fenced: bool, names: tuple[str, ...]) -> sa.Update:
    condition = (
        (attempts.c.id == sa.bindparam("attempt_id"))
        & attempts.c.state.in_(expect)
        & attempts.c.settled_at.is_(None)
    )
    if fenced:
        condition &= attempts.c.fence == sa.bindparam("under")
    new = {name: sa.bindparam(f"new_{name}", type_=attempts.c[name].type) for name in names}
    return attempts.update().where(condition).values(new)


def finish(
    connection: sa.Connection,
    resources: Resources,
    attempt_id: str,
    *,
    expect: Collection[str],
    outcome: Failed | Stopped | None,
    under: int | None = None,
    **values: Any,
) -> bool:
    """Record that an attempt's work is over and enqueue its settling, in one transaction.

    ``outcome`` is None for a result that is now to be fetched and stored. False if another got there first.
    """
    moved = end(connection, attempt_id, expect=expect, outcome=outcome, under=under, **values)
    if moved:
        enqueue_settle(connection, resources, attempt_id, 0)
    return moved


def end(
    connection: sa.Connection,
    attempt_id: str,
    *,
    expect: Collection[str],
    outcome: Failed | Stopped | None,
    under: int | None = None,
    **values: Any,
) -> bool:
    """As :func:`finish`, for a caller that settles the attempt itself, in the same transaction."""
    state = "fetching" if outcome is None else outcome.state
    if isinstance(outcome, Failed):
        values |= {"error_code": outcome.code, "error_message": outcome.message}
    if outcome is not None:
        values["snapshot"] = outcome.model_dump(mode="json")
    return change(
        connection,
        attempt_id,
        expect=expect,
        under=under,
        state=state,
        next_poll_at=now() + SETTLE_GRACE,
        tries=0,
        waiting=False,
        **values,
    )


def mark_settled(connection: sa.Connection, row: sa.Row[Any], **values: Any) -> bool:
    """Close an attempt's books; False if that was done before."""
    open_books = (attempts.c.id == row.id) & (attempts.c.fence == row.fence) & attempts.c.settled_at.is_(None)
    at = now()
    closing = (
        attempts.update()
        .where(open_books)
        .values(settled_at=at, next_poll_at=None, total_ms=milliseconds(row.accepted_at, at), **values)
    )
    return connection.execute(closing).rowcount == 1


def enqueue_settle(connection: sa.Connection, resources: Resources, attempt_id: str, tries: int) -> None:
    """Enqueue the settling of an attempt; each (attempt, tries) runs once."""
    suffix = f":{tries}" if tries else ""
    resources.enqueuer.enqueue(
        connection,
        workflow=SETTLE,
        queue=SETTLE,
        workflow_id=f"{attempt_id}{suffix}",
        attempt_id=attempt_id,
    )


def started(connection: sa.Connection, row: sa.Row[Any]) -> None:
    """Tell the video that work on it has begun."""
    begun = (
        videos.update()
        .where(videos.c.id == row.video_id, videos.c.status == "queued")
        .values(status="in_progress")
    )
    if connection.execute(begun).rowcount == 1:
        add_event(connection, row.video_id, "video.in_progress", model=row.model, adapter=row.adapter)


def progressed(connection: sa.Connection, video_id: str, percent: int, stage: str) -> None:
    """Record progress; it never goes back and reaches 100 only at completion."""
    percent = min(percent, 99)
    ahead = (
        videos.update()
        .where(videos.c.id == video_id, videos.c.status == "in_progress", videos.c.progress < percent)
        .values(progress=percent)
    )
    if connection.execute(ahead).rowcount == 1:
        add_event(connection, video_id, "video.progress", progress=percent, stage=stage)
