"""What one look at a provider's job means for its attempt."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.jobs.attempts import REMOTE_LIVE, change, finish, load, mark_settled, milliseconds, progressed
from gateway.jobs.failure import fail_video
from gateway.jobs.resources import Resources
from gateway.spec import Queued, Running, Snapshot, Succeeded

SOONEST = timedelta(milliseconds=250)
LATEST = timedelta(seconds=10)


def observe(resources: Resources, attempt_id: str, snapshot: Snapshot) -> None:
    """Record a snapshot; a terminal one ends the attempt's work and enqueues its settling."""
    with resources.db.write() as connection:
        row = load(connection, attempt_id)
        if row.state not in REMOTE_LIVE:
            return
        at = now()
        if isinstance(snapshot, Queued | Running):
            _still_going(connection, row, snapshot, at)
        else:
            _ended(connection, resources, row, snapshot, at)


def give_up(connection: sa.Connection, row: sa.Row[Any]) -> None:
    """Nobody can say what became of the job, and nobody waits any longer: fail the video, release its hold.

    The estimate stays open in the provider account, as exposure to be reconciled.
    """
    if not mark_settled(connection, row, state="outcome_unknown"):
        return
    if row.stop_reason == "caller":
        fail_video(connection, row, "cancelled", "The video was cancelled. You were not charged.")
    else:
        fail_video(
            connection,
            row,
            "outcome_unknown",
            "The provider may or may not have made this video, and could not be asked. You were not charged.",
        )


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
    return min(max(wish, SOONEST), LATEST)


def _ended(
    connection: sa.Connection, resources: Resources, row: sa.Row[Any], snapshot: Snapshot, at: datetime
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
    elif not isinstance(snapshot, Queued | Running):
        finish(connection, resources, row.id, expect=REMOTE_LIVE, outcome=snapshot, **values)
