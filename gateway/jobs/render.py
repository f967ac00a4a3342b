"""Render: one local attempt on one device slot."""

from __future__ import annotations

import logging
import shutil
import time
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import attempts, videos
from gateway.jobs.attempts import Claim, change, finish, hand_back, load, milliseconds, started
from gateway.jobs.persist import persist
from gateway.jobs.render_control import RenderControl
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
DEVICE_CHARS = 40
"""What its column holds; Postgres refuses more."""

log = logging.getLogger(__name__)


def render(resources: Resources, attempt_id: str, device: Device) -> None:
    """Run one attempt to its end; safe to be run again after any crash, from its newest checkpoint."""
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
        elif isinstance(error, ReelgateError):
            log.warning("%s, attempt %s failed: %s", row.video_id, row.id, error.operator_detail)
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
    return resources.registry.local(row.adapter, row.account).render(job, device, control)


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
