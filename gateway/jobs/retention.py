"""What is kept no longer: expired videos, stale idempotency keys, the engine's history, orphans of the store.

Several processes may sweep at once, and be killed at it: every step is safe to be done again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Protocol

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import artefacts, idempotency_keys, videos
from gateway.jobs.checkpoints import PREFIX
from gateway.jobs.engine import HISTORY_BATCH, Engine
from gateway.jobs.idempotency import IDEMPOTENCY_WINDOW
from gateway.jobs.resources import Resources
from gateway.spec import VideoRequest

FIRST_AFTER_S = 30.0
EVERY_S = 3600.0
BATCH = 200
TEMP_KEPT_S = 3600
ORPHAN_AFTER = timedelta(hours=24)
"""An object that no row names may belong to a job that is just being accepted, rendered or settled."""

log = logging.getLogger(__name__)


class Stop(Protocol):
    """An event that tells a sweep to end early."""

    def is_set(self) -> bool:
        """True once it should."""


def sweep_temp(resources: Resources, stop: Stop) -> int:
    """Remove what writers to the store that died left half written."""
    return resources.store.sweep_temp(TEMP_KEPT_S)


def sweep_videos(resources: Resources, stop: Stop) -> int:
    """Remove the files of videos that have expired; their rows and their money stay on record."""
    expired = (
        sa.select(videos.c.id)
        .join(artefacts, artefacts.c.video_id == videos.c.id)
        .where(videos.c.expires_at < now(), artefacts.c.deleted_at.is_(None))
        .distinct()
        .limit(BATCH)
    )
    removed = 0
    while not stop.is_set():
        with resources.db.read() as connection:
            found = list(connection.execute(expired).scalars())
        for video_id in found:
            _remove_files(resources, video_id)
        removed += len(found)
        if len(found) < BATCH:
            break
    return removed


def _remove_files(resources: Resources, video_id: str) -> None:
    with resources.db.read() as connection:
        keys = list(
            connection.execute(sa.select(artefacts.c.key).where(artefacts.c.video_id == video_id)).scalars()
        )
        asked = connection.execute(sa.select(videos.c.request).where(videos.c.id == video_id)).scalar_one()
    keys += [image.key for image in VideoRequest.model_validate(asked).images]
    with resources.db.write() as connection:  # first the row: whoever reads it must not find the file gone
        gone = artefacts.update().where(artefacts.c.video_id == video_id, artefacts.c.deleted_at.is_(None))
        connection.execute(gone.values(deleted_at=now()))
    for key in keys:  # what is left when this process dies here is an orphan
        resources.store.delete(key)


def sweep_idempotency_keys(resources: Resources, stop: Stop) -> int:
    """Remove keys that are older than the window in which they are replayed."""
    stale = idempotency_keys.c.created_at < now() - 2 * IDEMPOTENCY_WINDOW
    with resources.db.write() as connection:
        return connection.execute(idempotency_keys.delete().where(stale)).rowcount


def sweep_orphans(resources: Resources, stop: Stop) -> int:
    """Remove objects that are a day old and that no row names: of writers that died before their row."""
    before = now() - ORPHAN_AFTER
    removed = 0
    for prefix in ("videos", "inputs", PREFIX):
        old = (stored.key for stored in resources.store.keys(prefix) if stored.modified_at < before)
        while batch := list(islice(old, BATCH)):
            if stop.is_set():
                return removed
            for key in _orphans(resources, batch):
                removed += resources.store.delete(key)
    return removed


def _orphans(resources: Resources, keys: list[str]) -> Iterator[str]:
    """Those of ``<prefix>/<video id>/<name>`` that no living artefact names, nor any video that is unfinished
    or that can be made again from its input images."""
    owner = {key: key.split("/")[1] for key in keys}
    kept = sa.select(artefacts.c.key).where(artefacts.c.key.in_(keys), artefacts.c.deleted_at.is_(None))
    living = sa.select(videos.c.id, videos.c.status, videos.c.request).where(
        videos.c.id.in_(set(owner.values())),
        videos.c.deleted_at.is_(None),
        videos.c.expires_at.is_(None) | (videos.c.expires_at > now()),
    )
    with resources.db.read() as connection:
        named = set(connection.execute(kept).scalars())
        rows = connection.execute(living).all()
    unfinished = {row.id for row in rows if row.status in ("queued", "in_progress")}
    for row in rows:
        named |= {image.key for image in VideoRequest.model_validate(row.request).images}
    return (key for key in keys if key not in named and owner[key] not in unfinished)


SWEEPS = (sweep_temp, sweep_videos, sweep_idempotency_keys, sweep_orphans)


class Sweeper:
    """Sweeps now and then, in a thread of its own, until it is stopped."""

    def __init__(self, resources: Resources, engine: Engine) -> None:
        self._resources = resources
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep for the first time in a while: a start has other things to do."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more; a step that is under way is waited for."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        wait = FIRST_AFTER_S
        while not self._stop.wait(wait):
            for step in (
                sweep_temp,
                sweep_videos,
                sweep_idempotency_keys,
                sweep_orphans,
                self._forget_history,
            ):
                self._guarded(step)
            wait = EVERY_S

    def _guarded(self, step: Callable[[Resources, Stop], int]) -> None:
        name = step.__name__.lstrip("_")
        try:
            done = step(self._resources, self._stop)
        except Exception:  # a full disk or a failing store must not end the sweeps: the next one tries again
            log.exception("%s failed", name)
        else:
            if done:
                log.info("%s: %d removed", name, done)

    def _forget_history(self, resources: Resources, stop: Stop) -> int:
        before = now() - timedelta(days=resources.settings.keep_history_days)
        forgotten = 0
        while not stop.is_set():
            batch = self._engine.forget_history(before)
            forgotten += batch
            if batch < HISTORY_BATCH:
                break
        return forgotten
