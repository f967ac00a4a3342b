"""A caller's hand on a video: cancel it, delete it."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db import now
from gateway.db.keys import Caller
from gateway.db.tables import artefacts, attempts, videos
from gateway.jobs.attempts import REMOTE_LIVE, finish
from gateway.jobs.errors import StillActive
from gateway.jobs.records import VideoRecord, get_request, get_video
from gateway.jobs.resources import Resources
from gateway.spec import Stopped


def cancel_video(resources: Resources, caller: Caller, video_id: str) -> VideoRecord:
    """Ask for a video to be stopped; a finished one is returned as it is.

    What has not started stops at once. A local render stops within a step. A provider is asked to cancel and
    watched until it says what became of the job: a video that it finishes all the same is delivered and
    charged. A job whose submit was never answered is looked up once more, and then let go.

    Raises:
        VideoNotFound: unknown, deleted, or another tenant's.
    """
    with resources.db.write() as connection:
        if not get_video(connection, caller, video_id).terminal:
            stop_video(connection, resources, video_id, "caller")
        return get_video(connection, caller, video_id)


def stop_video(connection: sa.Connection, resources: Resources, video_id: str, reason: str) -> None:
    """Mark an unfinished video to be stopped, for the caller or its deadline; once marked it stays so."""
    at = now()
    connection.execute(
        videos.update()
        .where(videos.c.id == video_id, videos.c.stop_requested_at.is_(None))
        .values(stop_requested_at=at, stop_reason=reason)
    )
    planned = sa.select(attempts.c.id).where(attempts.c.video_id == video_id, attempts.c.state == "planned")
    for (attempt_id,) in connection.execute(planned).all():
        finish(connection, resources, attempt_id, expect=("planned",), outcome=Stopped(), finished_at=at)
    connection.execute(
        attempts.update()
        .where(
            attempts.c.video_id == video_id,
            attempts.c.kind == "remote",
            attempts.c.state.in_((*REMOTE_LIVE, "outcome_unknown")),
        )
        .values(next_poll_at=at)
    )


def delete_video(resources: Resources, caller: Caller, video_id: str) -> None:
    """Delete a finished video: its files go, its rows and its money stay on record.

    Raises:
        VideoNotFound: unknown, deleted, or another tenant's.
        StillActive: it is not finished.
    """
    with resources.db.write() as connection:
        if not get_video(connection, caller, video_id).terminal:
            raise StillActive(video_id)
        images = get_request(connection, caller, video_id).images
        at = now()
        connection.execute(videos.update().where(videos.c.id == video_id).values(deleted_at=at))
        connection.execute(artefacts.update().where(artefacts.c.video_id == video_id).values(deleted_at=at))
        stored = connection.execute(sa.select(artefacts.c.key).where(artefacts.c.video_id == video_id))
        keys = [row.key for row in stored] + [image.key for image in images]
    for key in keys:
        resources.store.delete(key)
