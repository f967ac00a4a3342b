"""What one look at a provider's job means for its attempt."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, assert_never

import sqlalchemy as sa

from gateway.db import now
from gateway.jobs.attempts import REMOTE_LIVE, change, finish, load, milliseconds, progressed
from gateway.jobs.failure import for_caller, give_up
from gateway.jobs.resources import Resources
from gateway.spec import Failed, Queued, Running, Snapshot, Stopped, Succeeded

SOONEST = timedelta(milliseconds=250)
LATEST = timedelta(seconds=10)
OVERTIME = timedelta(hours=1)
"""How long after its deadline a job that does not end is still watched."""


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
            _still_going(connection, row, snapshot, at)


def hopeless(row: sa.Row[Any]) -> bool:
    """True once nobody waits for this job: it is to be stopped, and cannot be seen or does not end."""
    if row.stop_requested_at is None:
        return False
    return bool(row.state == "outcome_unknown" or now() > row.deadline_at + OVERTIME)


def _still_going(
    connection: sa.Connection, row: sa.Row[Any], snapshot: Queued | Running, at: datetime
) -> None:
    changed: dict[str, Any] = {}
    seen = snapshot.model_dump(mode="json", exclude={"poll_after_ms"})
    if seen != row.snapshot:
        changed = {"snapshot": seen, "state": snapshot.state}
    if isinstance(snapshot, Running) and row.running_at is None:
        changed |= {"running_at": at, "provider_queue_ms": milliseconds(row.submitted_at, at)}
    change(
        connection,
        row.id,
        expect=REMOTE_LIVE,
        last_poll_at=at,
        next_poll_at=at + _interval(row, snapshot, at),
        tries=0,
        **changed,
    )
    if isinstance(snapshot, Running) and snapshot.progress is not None:
        progressed(connection, row.video_id, snapshot.progress, "running")


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
