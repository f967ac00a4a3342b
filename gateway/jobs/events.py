"""The history of a video: events numbered from 1 without gaps."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import events, videos

EventType = Literal["video.queued", "video.in_progress", "video.progress", "video.completed", "video.failed"]


_NEXT = (
    videos.update()
    .where(videos.c.id == sa.bindparam("of"))
    .values(event_seq=videos.c.event_seq + 1)
    .returning(videos.c.event_seq)
)


def add_event(connection: sa.Connection, video_id: str, kind: EventType, **data: Any) -> None:
    """Append an event; its number comes from the video's row, whose lock orders concurrent writers."""
    seq = connection.execute(_NEXT, {"of": video_id}).scalar_one()
    _insert(connection, video_id, seq, kind, data)


def add_first_event(connection: sa.Connection, video_id: str, kind: EventType, **data: Any) -> None:
    """Add the event of a video that was inserted with ``event_seq=1``, for this one."""
    _insert(connection, video_id, 1, kind, data)


def _insert(
    connection: sa.Connection, video_id: str, seq: int, kind: EventType, data: dict[str, Any]
) -> None:
    row = {"video_id": video_id, "seq": seq, "type": kind, "data": data, "created_at": now()}
    connection.execute(events.insert(), row)
