"""Record what looks brought, all that came within a moment in one transaction.

Each transaction has the disk write once, and on SQLite the writers come one after the other: a thousand looks
recorded one by one would wait for each other longer than for the provider.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.jobs.due import BATCH, Row
from gateway.jobs.looks import detail, observe, observe_all, put_off
from gateway.jobs.resources import Resources
from gateway.spec import ProviderError, Snapshot, UnexpectedReply

MOMENT_S = 0.1

log = logging.getLogger(__name__)

Look = tuple[Row, Snapshot | Exception]
"""What was seen of an attempt's job, or why nothing was."""


class Recorder:
    """Records looks for a watcher, on its event loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._waiting: list[Look] = []
        self._next: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def record(self, looks: Sequence[Look]) -> None:
        """Return once these are on record, or it is logged why they are not."""
        self._waiting.extend(looks)
        if self._next is None:
            self._next = asyncio.create_task(self._record_waiting())
        await asyncio.shield(self._next)

    async def write(self, rows: Sequence[Row], write: Callable[..., None], *arguments: Any) -> bool:
        """Record what a turn brought; what cannot be is these rows' trouble, and their lease brings them
        back."""
        try:
            await asyncio.to_thread(write, *arguments)
        except Exception as error:  # noqa: BLE001  # a full database, or what a provider said cannot be stored
            log_trouble(f"{named(rows)}: what came of it was not recorded", error)
            return False
        return True

    async def _record_waiting(self) -> None:
        await asyncio.sleep(MOMENT_S)
        async with self._writing:  # what comes in the meantime goes along
            looks, self._waiting, self._next = self._waiting, [], None
            seen = [(row, snapshot) for row, snapshot in looks if not isinstance(snapshot, Exception)]
            for start in range(0, len(seen), BATCH):
                await self._record_seen(seen[start : start + BATCH])
            for row, error in looks:
                if isinstance(error, Exception):
                    await self.write([row], put_off, self._resources, row, error)

    async def _record_seen(self, seen: Sequence[tuple[Row, Snapshot]]) -> None:
        """Record these together; what cannot be recorded must not keep the rest from it."""
        if await self.write([row for row, _ in seen], observe_all, self._resources, seen):
            return
        for row, snapshot in seen:
            if not await self.write([row], observe, self._resources, row.id, snapshot):
                unfit = UnexpectedReply("what it said cannot be recorded")
                await self.write([row], put_off, self._resources, row, unfit)


def named(rows: Sequence[Row]) -> str:
    """Attempts as a log line names them."""
    return f"attempt {', '.join(row.id for row in rows)}"


def log_trouble(what: str, error: Exception) -> None:
    """An expected trouble in one line, since a full disk brings thousands of them; a bug with its trace."""
    expected = isinstance(error, ProviderError | sa.exc.SQLAlchemyError | TimeoutError)
    log.error("%s: %s", what, detail(error), exc_info=None if expected else error)
