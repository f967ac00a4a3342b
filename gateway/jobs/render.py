"""Render: one local attempt on one device slot."""

from __future__ import annotations

import logging
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import attempts, videos
from gateway.jobs.attempts import Claim, change, finish, hand_back, load, milliseconds, progressed, started
from gateway.jobs.persist import persist
from gateway.jobs.resources import Resources
from gateway.jobs.shares import leave_queue
from gateway.jobs.work import Gone, build_job
from gateway.media import StoreError, of_full_disk, store_errors
from gateway.observe.steps import step
from gateway.spec import (
    Asset,
    Cancelled,
    Device,
    Failed,
    ReelgateError,
    Stopped,
    Usage,
)

MAX_DEATHS = 3
PROGRESS_EVERY_S = 0.5
STAGE_CHARS = DEVICE_CHARS = 40
"""What their columns hold; Postgres refuses more."""

log = logging.getLogger(__name__)


class RenderControl:
    """The core's end of a running render: progress goes to SQL, cancellation comes from there."""

    def __init__(self, resources: Resources, row: sa.Row[Any], claim: Claim, folder: Path) -> None:
        self.folder = folder
        self._resources = resources
        self._row = row
        self._claim = claim
        self._written_at = 0.0
        self._asked_at = 0.0
        self._stop = False

    def progress(self, stage: str, done: int, total: int) -> None:
        """Write a step's progress, at most twice a second."""
        if time.monotonic() - self._written_at < PROGRESS_EVERY_S:
            return
        self._written_at = time.monotonic()
        try:
            self._write(stage[:STAGE_CHARS], 100 * done // max(total, 1))
        except sa.exc.SQLAlchemyError as error:  # a render of an hour is not lost over a step's percentage
            log.warning("attempt %s: its progress was not recorded: %s", self._claim.attempt_id, error)

    def _write(self, stage: str, percent: int) -> None:
        claim = self._claim
        with self._resources.db.write() as connection:
            if change(connection, claim.attempt_id, expect=("running",), under=claim.fence, stage=stage):
                progressed(connection, self._row.video_id, percent, stage)

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


def render(resources: Resources, attempt_id: str, device: Device) -> None:
    """Run one attempt to its end; safe to be run again from the start after any crash."""
    claim = _claim(resources, attempt_id, device)
    if claim is None:
        return
    row = persist(resources.stopping, lambda: _read(resources, attempt_id))
    with step("render", row):
        _render(resources, row, claim, device)


def _render(resources: Resources, row: sa.Row[Any], claim: Claim, device: Device) -> None:
    folder = resources.scratch / f"{row.id}-{claim.fence}"
    begun = time.monotonic()
    try:
        with store_errors(resources.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        asset = _run_adapter(resources, row, device, RenderControl(resources, row, claim, folder))
        source_key = f"videos/{row.video_id}/{row.id}-{claim.fence}.mp4"
        resources.store.put(source_key, asset.path)
    except Cancelled:
        ended = partial(_stopped, resources, row, claim, _elapsed(begun))
    except Exception as error:  # an adapter may raise anything, and every end of an attempt must be recorded
        if not isinstance(error, ReelgateError | StoreError | Gone):
            log.exception("%s, attempt %s: the adapter %s raised", row.video_id, row.id, row.adapter)
        ended = partial(_failed, resources, row, claim, error, _elapsed(begun))
    else:
        ended = partial(_rendered, resources, row, claim, asset, source_key, _elapsed(begun))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    persist(resources.stopping, ended)


def _read(resources: Resources, attempt_id: str) -> sa.Row[Any]:
    with resources.db.read() as connection:
        return load(connection, attempt_id)


def _claim(resources: Resources, attempt_id: str, device: Device) -> Claim | None:
    """Take the attempt; None if it is over. A claim upon a running one means that its worker died."""
    with resources.db.write() as connection:
        row = load(connection, attempt_id, lock=True)
        if row.state not in ("planned", "running"):
            return None
        # a restart of the whole gateway is not the job's doing, a worker that dies under a living one may be
        died = row.state == "running" and resources.presence.alive(row.supervisor)
        deaths, fence = row.deaths + died, row.fence + 1
        outcome: Failed | Stopped | None = None
        if row.stop_requested_at is not None:
            outcome = Stopped()
        elif deaths >= MAX_DEATHS:
            outcome = Failed(
                code="worker_lost",
                message=f"The worker died {MAX_DEATHS} times on this video. You were not charged.",
            )
        if outcome is not None:
            finish(
                connection,
                resources,
                attempt_id,
                expect=(row.state,),
                outcome=outcome,
                deaths=deaths,
            )
            return None
        at = now()
        taken = change(
            connection,
            attempt_id,
            expect=(row.state,),
            under=row.fence,
            state="running",
            fence=fence,
            deaths=deaths,
            supervisor=resources.supervisor,
            device=f"{device.pool}/{device.slot} {device.kind}"[:DEVICE_CHARS],
            started_at=at,
            running_at=at,
            queued_ms=milliseconds(row.created_at, at),
        )
        if not taken:
            return None
        leave_queue(connection, row.pool, row.priority)
        started(connection, row)
    return Claim(attempt_id=attempt_id, fence=fence)


def _run_adapter(resources: Resources, row: sa.Row[Any], device: Device, control: RenderControl) -> Asset:
    job = build_job(resources, row)
    return resources.registry.local(row.adapter).render(job, device, control)


def _elapsed(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


def _rendered(
    resources: Resources, row: sa.Row[Any], claim: Claim, asset: Asset, source_key: str, elapsed_ms: int
) -> None:
    usage = asset.usage
    if usage.device_ms is None:
        usage = usage.model_copy(update={"device_ms": elapsed_ms})
    with resources.db.write() as connection:
        kept = finish(
            connection,
            resources,
            row.id,
            expect=("running",),
            outcome=None,
            under=claim.fence,
            source_key=source_key,
            usage=usage.model_dump(mode="json"),
            notes=[*row.notes, *(note.model_dump() for note in asset.notes)],
            render_ms=usage.device_ms,
            finished_at=now(),
        )
        mine = connection.execute(
            sa.select(attempts.c.source_key).where(attempts.c.id == row.id)
        ).scalar_one()
    if not kept and mine != source_key:  # it is mine where an earlier commit lasted, of which no word came
        resources.store.delete(source_key)


def _stopped(resources: Resources, row: sa.Row[Any], claim: Claim, elapsed_ms: int) -> None:
    with resources.db.write() as connection:
        asked = connection.execute(
            sa.select(videos.c.stop_requested_at).where(videos.c.id == row.video_id)
        ).scalar_one()
        if asked is None and resources.stopping.is_set():
            hand_back(connection, resources, row, claim)
            return
        finish(
            connection,
            resources,
            row.id,
            expect=("running",),
            outcome=Stopped(usage=Usage(device_ms=elapsed_ms)),
            under=claim.fence,
            render_ms=elapsed_ms,
            finished_at=now(),
        )


def _failed(resources: Resources, row: sa.Row[Any], claim: Claim, error: Exception, elapsed_ms: int) -> None:
    with resources.db.write() as connection:
        finish(
            connection,
            resources,
            row.id,
            expect=("running",),
            outcome=_outcome(error),
            under=claim.fence,
            operator_detail=getattr(error, "operator_detail", f"{type(error).__name__}: {error}"),
            usage=Usage(device_ms=elapsed_ms).model_dump(mode="json"),
            render_ms=elapsed_ms,
            finished_at=now(),
        )


def _outcome(error: Exception) -> Failed:
    if isinstance(error, Gone):
        return error.outcome
    if isinstance(error, StoreError) or of_full_disk(error):
        return Failed(
            code="storage_unavailable",
            message="The gateway could not store the video: its storage is full or failing. You were not"
            " charged. Try again later, and tell the operator.",
            user_fault=True,  # another way, perhaps a paid one, could not be stored either
        )
    if isinstance(error, ReelgateError):
        return Failed(
            code=error.code,
            message=f"{error.caller_detail} You were not charged.",
            user_fault=not error.another_candidate,
        )
    return Failed(
        code="render_failed",
        message="The local render failed for a reason of the gateway's own. You were not charged."
        " The operator finds the cause in the log under this video's id.",
    )
