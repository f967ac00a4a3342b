"""The history of a video: events numbered from 1 without gaps."""

from __future__ import annotations

import base64
from typing import Any, Literal

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import events, videos

EventType = Literal[
    "video.queued",
    "video.in_progress",
    "video.progress",
    "video.preview",
    "video.completed",
    "video.failed",
]

PREVIEWS_KEPT = 3
"""How many previews of a running video keep their picture."""

_NEXT = (
    videos.update()
    .where(videos.c.id == sa.bindparam("of"))
    .values(event_seq=videos.c.event_seq + 1)
    .returning(videos.c.event_seq)
)
_PICTURES = (
    sa.select(events.c.seq, events.c.data)
    .where(
        events.c.video_id == sa.bindparam("of"),
        events.c.type == "video.preview",
        events.c.data["image"].as_string().is_not(None),
    )
    .order_by(events.c.seq.desc())
)
_WITHOUT_PICTURE = (
    events.update()
    .where(events.c.video_id == sa.bindparam("of"), events.c.seq == sa.bindparam("at"))
    .values(data=sa.bindparam("without"))
)


def add_event(connection: sa.Connection, video_id: str, kind: EventType, **data: Any) -> None:
    """Append an event; its number comes from the video's row, whose lock orders concurrent writers.

    With a video's ending the pictures of its previews go.
    """
    seq = connection.execute(_NEXT, {"of": video_id}).scalar_one()
    _insert(connection, video_id, seq, kind, data)
    if kind in ("video.completed", "video.failed"):
        _remove_pictures(connection, video_id, but=0)


def add_first_event(connection: sa.Connection, video_id: str, kind: EventType, **data: Any) -> None:
    """Add the event of a video that was inserted with ``event_seq=1``, for this one."""
    _insert(connection, video_id, 1, kind, data)


def add_preview(connection: sa.Connection, video_id: str, image: bytes, media_type: str, **data: Any) -> None:
    """Append a preview, whose picture the event holds as a data URL; older ones lose theirs."""
    picture = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    add_event(connection, video_id, "video.preview", image=picture, **data)
    _remove_pictures(connection, video_id, but=PREVIEWS_KEPT)


def _insert(
    connection: sa.Connection, video_id: str, seq: int, kind: EventType, data: dict[str, Any]
) -> None:
    row = {"video_id": video_id, "seq": seq, "type": kind, "data": data, "created_at": now()}
    connection.execute(events.insert(), row)


def _remove_pictures(connection: sa.Connection, video_id: str, *, but: int) -> None:
    """Leave the newest ``but`` previews their pictures; the others stay, with ``image`` null."""
    for row in connection.execute(_PICTURES, {"of": video_id}).all()[but:]:
        without = {**row.data, "image": None}
        connection.execute(_WITHOUT_PICTURE, {"of": video_id, "at": row.seq, "without": without})
