"""What is past its deadline is stopped, and ended where its own workflow does not do that."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import attempts, videos
from gateway.jobs.attempts import change, finish
from gateway.jobs.control import stop_video
from gateway.jobs.resources import Resources
from gateway.spec import Stopped

BATCH = 200
LOST_AFTER = timedelta(minutes=5)
"""How long after its deadline an attempt is ended whose own workflow should have ended it."""


def end_overdue(resources: Resources) -> None:
    """Stop what is past its deadline, and end what its own workflow left behind."""
    at = now()
    unfinished = videos.c.status.in_(("queued", "in_progress"))
    late = sa.select(videos.c.id).where(
        unfinished, videos.c.deadline_at < at, videos.c.stop_requested_at.is_(None)
    )
    lost = (
        sa.select(attempts.c.id, attempts.c.state)
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(
            unfinished,
            videos.c.deadline_at < at - LOST_AFTER,
            attempts.c.state.in_(("planned", "submitting"))
            | ((attempts.c.kind == "local") & (attempts.c.state == "running")),
        )
    )
    with resources.db.read() as connection:
        overdue = connection.execute(late.order_by(videos.c.id).limit(BATCH)).all()  # locked in one order
        stuck = connection.execute(lost.order_by(videos.c.id).limit(BATCH)).all()
    if not overdue and not stuck:
        return
    with resources.db.write() as connection:
        for row in overdue:
            stop_video(connection, resources, row.id, "deadline")
        for row in stuck:
            _end_lost(connection, resources, row, at)


def _end_lost(connection: sa.Connection, resources: Resources, row: sa.Row[str, str], at: datetime) -> None:
    if row.state == "submitting":  # it may have been sent: looked up once more, and then let go
        change(connection, row.id, expect=("submitting",), state="outcome_unknown", next_poll_at=at)
    else:
        finish(connection, resources, row.id, expect=(row.state,), outcome=Stopped())
