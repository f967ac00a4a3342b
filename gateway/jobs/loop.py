"""The event loop on which remote adapters live: one thread for the life of the process.

Adapters keep long-lived HTTP clients, which belong to one loop; workflows run in threads and call in here.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
TIDY_S = 5.0


class IoLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="io-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop and wait for what it returns or raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Start ``work`` on the loop; :meth:`cancel` ends it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def cancel(self, started: Future[None]) -> None:
        """Cancel what :meth:`start` started, and wait for its end."""
        started.cancel()
        self.run(_turn())

    def close(self) -> None:
        """Stop the loop and its thread; whoever waits in :meth:`run` gets a ``CancelledError``."""
        self.run(_end_all())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where it exists: a call to a provider costs a third less there, beside busy threads."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


async def _end_all() -> None:
    """Cancel every other task of the loop, and give them a moment to tidy up."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=TIDY_S)


async def _turn() -> None:
    """Wait until every other task of the loop that was cancelled has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*(task for task in others if task.cancelling()), return_exceptions=True)
