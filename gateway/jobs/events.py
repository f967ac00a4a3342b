"""The history of a video: events numbered from 1 without gaps."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import events, videos

EventType = Literal["video.queued", "video.in_progress", "video.progress", "video.completed", "video.failed"]


def add_event(connection: sa.Connection, video_id: str, kind: EventType, **data: Any) -> None:
    """Append an event; its number comes from the video's row, whose lock orders concurrent writers."""
    seq = connection.execute(
        videos.update()
        .where(videos.c.id == video_id)
        .values(event_seq=videos.c.event_seq + 1)
        .returning(videos.c.event_seq)
    ).scalar_one()
    connection.execute(
        events.insert().values(video_id=video_id, seq=seq, type=kind, data=data, created_at=now())
    )
