"""What one look at a provider's job means for its attempt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import Utc, attempts, videos
from gateway.jobs.attempts import REMOTE_LIVE, change, finish, load, milliseconds, progressed
from gateway.jobs.failure import for_caller, give_up
from gateway.jobs.resources import Resources
from gateway.spec import (
    Failed,
    ProviderError,
    Queued,
    RateLimited,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
)

SOONEST = timedelta(milliseconds=250)
LATEST = timedelta(seconds=10)
BACKOFF_LONGEST = timedelta(seconds=60)
ASKED_LONGEST = timedelta(minutes=5)
"""How long a look is put off at most, whatever the provider asks for: results do not lie there for ever."""

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
_LOCK = (
    sa.select(videos.c.id)
    .where(videos.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(videos.c.id)  # the one order in which all take these locks
    .with_for_update()
)


def observe(resources: Resources, attempt_id: str, snapshot: Snapshot) -> None:
    """Record a snapshot; a terminal one ends the attempt's work and enqueues its settling."""
    with resources.db.write() as connection:
        _observe(connection, resources, [(load(connection, attempt_id, lock=True), snapshot)])


def observe_all(resources: Resources, looks: Sequence[tuple[sa.Row[Any], Snapshot]]) -> None:
    """The same for many in one transaction: all of it is recorded, or nothing."""
    with resources.db.write() as connection:
        connection.execute(_LOCK, {"ids": [row.video_id for row, _ in looks]})
        _observe(connection, resources, looks)


def put_off(resources: Resources, row: sa.Row[Any], error: Exception) -> None:
    """A look failed: come back later, or give up long after the deadline."""
    live = (*REMOTE_LIVE, "outcome_unknown")
    with resources.db.write() as connection:
        fresh = load(connection, row.id, lock=True)
        if fresh.state in live and hopeless(fresh):
            give_up(connection, fresh)
            return
        backoff = min(timedelta(seconds=1) * 2 ** min(fresh.tries, 10), BACKOFF_LONGEST)
        lost = fresh.state == "outcome_unknown"  # what was seen at the submit says more
        asked = timedelta(seconds=(error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0)
        change(
            connection,
            row.id,
            expect=live,
            next_poll_at=now() + later(max(backoff, min(asked, ASKED_LONGEST))),
            tries=fresh.tries + 1,
            operator_detail=fresh.operator_detail if lost else detail(error),
        )


def detail(error: Exception) -> str:
    """What an operator is told of a look that failed."""
    return error.operator_detail if isinstance(error, ProviderError) else f"{type(error).__name__}: {error}"


def hopeless(row: sa.Row[Any]) -> bool:
    """True once nobody waits for this job: it is to be stopped, and cannot be seen or does not end."""
    if row.stop_requested_at is None:
        return False
    return bool(row.state == "outcome_unknown" or now() > row.deadline_at + OVERTIME)


def _observe(
    connection: sa.Connection, resources: Resources, looks: Sequence[tuple[sa.Row[Any], Snapshot]]
) -> None:
    at = now()
    going: list[Going] = []
    for row, snapshot in looks:
        if row.state not in REMOTE_LIVE:
            continue
        if not isinstance(snapshot, Queued | Running):
            _ended(connection, resources, row, snapshot, at)
        elif hopeless(row):
            _give_up(connection, row.id)
        else:
            going.append((row, snapshot))
    _still_going(connection, going, at)


def _give_up(connection: sa.Connection, attempt_id: str) -> None:
    row = load(connection, attempt_id)  # anew, under the lock of its video
    if row.state in REMOTE_LIVE:
        give_up(connection, row)


def _still_going(connection: sa.Connection, looks: Sequence[Going], at: datetime) -> None:
    looked, changed, begun = [], [], []
    for row, snapshot in looks:
        this, seen = {"attempt_id": row.id, "at": at}, _shown(snapshot)
        looked.append(this | {"later": at + _interval(row, snapshot, at)})
        if seen == row.snapshot:
            continue
        changed.append(this | {"seen": seen, "is_now": snapshot.state})
        if isinstance(snapshot, Running) and row.running_at is None:
            begun.append(this | {"waited_ms": milliseconds(row.submitted_at, at)})
        if isinstance(snapshot, Running) and snapshot.progress is not None:
            progressed(connection, row.video_id, snapshot.progress, "running")
    for statement, rows in ((_LOOKED, looked), (_CHANGED, changed), (_BEGUN, begun)):
        if rows:
            connection.execute(statement, rows)


def _shown(snapshot: Queued | Running) -> dict[str, Any]:
    """What is stored of it."""
    return snapshot.model_dump(mode="json", exclude={"poll_after_ms"})


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
