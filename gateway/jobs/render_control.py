"""The core's end of a running render: what the adapter reports, keeps and shows, and when it is to stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.db.tables import attempts, videos
from gateway.jobs import checkpoints
from gateway.jobs.attempts import Claim, change, progressed
from gateway.jobs.events import add_preview
from gateway.jobs.resources import Resources
from gateway.media import StoreError

PROGRESS_EVERY_S = 0.5
PREVIEW_BYTES = 96 * 1024
STAGE_CHARS = 40
"""What its column holds; Postgres refuses more."""

log = logging.getLogger(__name__)


class RenderControl:
    """Progress, previews and checkpoints go to SQL and the store, under the claim.

    A render of an hour is not lost over any of them: trouble is logged.
    """

    def __init__(self, resources: Resources, row: sa.Row[Any], claim: Claim, folder: Path) -> None:
        self.folder = folder
        self._resources = resources
        self._row = row
        self._claim = claim
        self._stage: str | None = row.stage
        self._percent = 0
        self._written_at = self._asked_at = -math.inf
        self._kept_at = self._shown_at = time.monotonic()  # a short render is not made longer by either
        self._stop = False
        self._kept = 0
        self._told_when_kept = 0

    def progress(self, stage: str, done: int, total: int) -> None:
        """Write a step's progress, at most twice a second."""
        self._stage, self._percent = stage[:STAGE_CHARS], min(100 * done // max(total, 1), 99)
        if time.monotonic() - self._written_at < PROGRESS_EVERY_S:
            return
        self._written_at = time.monotonic()
        try:
            with self._resources.db.write() as connection:
                if self._mine(connection):
                    progressed(connection, self._row.video_id, self._percent, self._stage)
        except sa.exc.SQLAlchemyError as error:
            log.warning("attempt %s: its progress was not recorded: %s", self._claim.attempt_id, error)

    def _mine(self, connection: sa.Connection) -> bool:
        """Note the stage on the attempt; False if it is no longer this claim's to change."""
        claim = self._claim
        return change(connection, claim.attempt_id, expect=("running",), under=claim.fence, stage=self._stage)

    def cancelled(self) -> bool:
        """True once the caller, the deadline or the end of this process asks for it, or the claim is lost."""
        if not self._stop and time.monotonic() - self._asked_at >= PROGRESS_EVERY_S:
            self._asked_at = time.monotonic()
            try:
                self._stop = self._asked_to_stop()
            except sa.exc.SQLAlchemyError as error:  # asked again in a moment
                log.warning("attempt %s: could not ask whether to stop: %s", self._claim.attempt_id, error)
        return self._stop or self._resources.stopping.is_set()

    def _asked_to_stop(self) -> bool:
        query = (
            sa.select(videos.c.stop_requested_at, attempts.c.fence)
            .join(attempts, attempts.c.video_id == videos.c.id)
            .where(attempts.c.id == self._claim.attempt_id)
        )
        with self._resources.db.read() as connection:
            row = connection.execute(query).one()
        return row.stop_requested_at is not None or row.fence != self._claim.fence

    def checkpoint_due(self) -> bool:
        """True now and then, once this process is told to end, and once more when it is to hand back."""
        elapsed = time.monotonic() - self._kept_at
        return self._told() > self._told_when_kept or elapsed >= self._resources.settings.checkpoint_every_s

    def _told(self) -> int:
        """How often this process was told to end: to take nothing new, then to hand back what it has."""
        return self._resources.draining.is_set() + self._resources.stopping.is_set()

    def keep_checkpoint(self, data: bytes) -> None:
        """Keep a state for a later run; whether it could be kept or not, none is due for a while."""
        self._told_when_kept = self._told()
        self._kept += 1
        try:
            checkpoints.keep(self._resources, self._row.video_id, self._claim, self._kept, data)
        except StoreError as error:
            log.warning("attempt %s: no checkpoint: %s", self._claim.attempt_id, error.operator_detail)
        except sa.exc.SQLAlchemyError as error:
            log.warning("attempt %s: its checkpoint was not recorded: %s", self._claim.attempt_id, error)
        self._kept_at = time.monotonic()

    def checkpoints(self) -> Iterator[bytes]:
        """What earlier runs kept, newest first."""
        return checkpoints.whole(self._resources, self._row)

    def preview_due(self) -> bool:
        """True if previews are wanted, and the last, or the render's beginning, is long enough ago."""
        every = self._resources.settings.preview_every_s
        return every > 0 and time.monotonic() - self._shown_at >= every

    def preview(self, image: bytes, media_type: str = "image/webp") -> None:
        """Show a picture, if one is due, with the stage and progress last reported."""
        if not self.preview_due():
            return
        self._shown_at = time.monotonic()
        if len(image) > PREVIEW_BYTES:
            log.warning("attempt %s: a preview of %d bytes is not shown", self._claim.attempt_id, len(image))
            return
        try:
            with self._resources.db.write() as connection:
                if self._mine(connection):
                    about = {"stage": self._stage, "progress": self._percent}
                    add_preview(connection, self._row.video_id, image, media_type, **about)
        except sa.exc.SQLAlchemyError as error:
            log.warning("attempt %s: a preview was not shown: %s", self._claim.attempt_id, error)
