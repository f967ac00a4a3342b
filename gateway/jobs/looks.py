"""What one look at a provider's job means for its attempt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import Utc, attempts, videos
from gateway.jobs.attempts import REMOTE_LIVE, finish, load, milliseconds, progressed
from gateway.jobs.failure import for_caller, give_up
from gateway.jobs.resources import Resources
from gateway.spec import Failed, Queued, Running, Snapshot, Stopped, Succeeded

SOONEST = timedelta(milliseconds=250)
LATEST = timedelta(seconds=10)
OVERTIME = timedelta(hours=1)
"""How long after its deadline a job that does not end is still watched."""

Going = tuple[sa.Row[Any], Queued | Running]
"""An attempt, and what was seen of its job."""

# not in_(), whose values are put in anew at every execution, which cannot be one of many
_IS_LIVE = sa.or_(*(attempts.c.state == state for state in REMOTE_LIVE)) & attempts.c.settled_at.is_(None)
_THIS = (attempts.c.id == sa.bindparam("attempt_id")) & _IS_LIVE
_LATER = sa.bindparam("later", type_=Utc())
_LOOKED = (
    attempts.update()
    .where(_THIS)
    .values(
        last_poll_at=sa.bindparam("at"),
        # what is due was woken since: it is looked at again
        next_poll_at=sa.case(
            (attempts.c.next_poll_at <= sa.bindparam("at"), attempts.c.next_poll_at), else_=_LATER
        ),
        tries=0,
    )
)
_CHANGED = attempts.update().where(_THIS).values(snapshot=sa.bindparam("seen"), state=sa.bindparam("is_now"))
_BEGUN = (
    attempts.update()
    .where(_THIS)
    .values(running_at=sa.bindparam("at"), provider_queue_ms=sa.bindparam("waited_ms"))
)
_SOME: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_LIVE = sa.select(attempts.c.id).where(attempts.c.id.in_(_SOME), _IS_LIVE).with_for_update(skip_locked=True)
_VIDEOS_LOCKED = sa.select(videos.c.id).where(videos.c.id.in_(_SOME)).order_by(videos.c.id).with_for_update()


def observe(resources: Resources, attempt_id: str, snapshot: Snapshot) -> None:
    """Record a snapshot; a terminal one ends the attempt's work and enqueues its settling."""
    with resources.db.write() as connection:
        row = load(connection, attempt_id, lock=True)
        if row.state not in REMOTE_LIVE:
            return
        at = now()
        if not isinstance(snapshot, Queued | Running):
            _ended(connection, resources, row, snapshot, at)
        elif hopeless(row):
            give_up(connection, row)
        else:
            _still_going(connection, [(row, snapshot)], at)


def observe_going(resources: Resources, looks: Sequence[Going]) -> None:
    """Record jobs that are not over in one transaction; an attempt that another process is changing just now
    is left to that.

    It waits for no lock while it holds one of an attempt, and for those of videos in the one order.
    """
    moved = sorted({row.video_id for row, snapshot in looks if _percent(row, snapshot) is not None})
    with resources.db.write() as connection:
        if moved:
            connection.execute(_VIDEOS_LOCKED, {"ids": moved})
        live = set(connection.execute(_LIVE, {"ids": [row.id for row, _ in looks]}).scalars())
        _still_going(connection, [look for look in looks if look[0].id in live], now())


def hopeless(row: sa.Row[Any]) -> bool:
    """True once nobody waits for this job: it is to be stopped, and cannot be seen or does not end."""
    if row.stop_requested_at is None:
        return False
    return bool(row.state == "outcome_unknown" or now() > row.deadline_at + OVERTIME)


def _still_going(connection: sa.Connection, looks: Sequence[Going], at: datetime) -> None:
    looked = [
        {"attempt_id": row.id, "at": at, "later": at + _interval(row, snapshot, at)}
        for row, snapshot in looks
    ]
    changed = [
        {"attempt_id": row.id, "seen": _shown(snapshot), "is_now": snapshot.state}
        for row, snapshot in looks
        if _shown(snapshot) != row.snapshot
    ]
    begun = [
        {"attempt_id": row.id, "at": at, "waited_ms": milliseconds(row.submitted_at, at)}
        for row, snapshot in looks
        if isinstance(snapshot, Running) and row.running_at is None
    ]
    for statement, rows in ((_LOOKED, looked), (_CHANGED, changed), (_BEGUN, begun)):
        if rows:
            connection.execute(statement, rows)
    for row, snapshot in looks:
        percent = _percent(row, snapshot)
        if percent is not None:
            progressed(connection, row.video_id, percent, "running")


def _shown(snapshot: Queued | Running) -> dict[str, Any]:
    """What is stored of it."""
    return snapshot.model_dump(mode="json", exclude={"poll_after_ms"})


def _percent(row: sa.Row[Any], snapshot: Queued | Running) -> int | None:
    """The progress that is new with this look."""
    if not isinstance(snapshot, Running) or _shown(snapshot) == row.snapshot:
        return None
    return snapshot.progress


def _interval(row: sa.Row[Any], snapshot: Queued | Running, at: datetime) -> timedelta:
    """The provider's own wish, else a tenth of the job's age: young jobs are looked at often."""
    if snapshot.poll_after_ms is not None:
        wish = timedelta(milliseconds=snapshot.poll_after_ms)
    else:
        wish = (at - (row.submitted_at or at)) / 10
    return later(min(max(wish, SOONEST), LATEST))


def later(wait: timedelta) -> timedelta:
    """A wait, or up to a tenth more: what was sent together is not looked at together for ever."""
    return wait * random.uniform(1.0, 1.1)  # noqa: S311  # no secret


def _ended(
    connection: sa.Connection,
    resources: Resources,
    row: sa.Row[Any],
    snapshot: Succeeded | Failed | Stopped,
    at: datetime,
) -> None:
    values: dict[str, Any] = {
        "last_poll_at": at,
        "finished_at": at,
        "render_ms": milliseconds(row.running_at or row.submitted_at, at),
        # at most this long ago: between the last look and this one
        "detection_lag_ms": milliseconds(row.last_poll_at or row.submitted_at, at),
    }
    if isinstance(snapshot, Succeeded):
        finish(
            connection,
            resources,
            row.id,
            expect=REMOTE_LIVE,
            outcome=None,
            snapshot=snapshot.model_dump(mode="json"),
            usage=snapshot.usage.model_dump(mode="json"),
            notes=[*row.notes, *(note.model_dump() for note in snapshot.notes)],
            **values,
        )
    elif isinstance(snapshot, Failed):
        told = for_caller(snapshot.message, user_fault=snapshot.user_fault)
        outcome = snapshot.model_copy(update={"message": told})
        finish(connection, resources, row.id, expect=REMOTE_LIVE, outcome=outcome, **values)
    elif isinstance(snapshot, Stopped):
        finish(connection, resources, row.id, expect=REMOTE_LIVE, outcome=snapshot, **values)
    else:
        assert_never(snapshot)  # what a faulty adapter returned is no end of the job
