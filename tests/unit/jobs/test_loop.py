"""The adapters' event loop: one thread that runs, cancels and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.jobs.loop import IoLoop


@pytest.fixture
def io() -> Iterator[IoLoop]:
    loop = IoLoop()
    yield loop
    loop.close()


def test_what_the_work_returns_and_raises_reaches_the_caller(io: IoLoop) -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise KeyError("lost")

    assert io.run(answer()) == 42
    with pytest.raises(KeyError, match="lost"):
        io.run(fail())


def test_all_work_runs_in_one_thread_that_is_not_the_callers(io: IoLoop) -> None:
    async def where() -> threading.Thread:
        return threading.current_thread()

    threads = {io.run(where()) for _ in range(3)}
    assert len(threads) == 1
    assert threads.pop().name == "io-loop"


def test_started_work_goes_on_while_other_work_runs_and_its_cancelling_is_awaited(io: IoLoop) -> None:
    log: list[str] = []

    async def forever() -> None:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(threading.Event().wait, 0.1)  # tidying up may take its time
            log.append("ended")

    async def nothing() -> None:
        return

    started = io.start(forever())
    io.run(nothing())
    assert log == ["begun"]
    io.cancel(started)
    assert log == ["begun", "ended"]
    assert started.cancelled()


def test_cancelling_what_has_ended_is_no_error(io: IoLoop) -> None:
    async def nothing() -> None:
        return

    started = io.start(nothing())
    started.result(timeout=5)
    io.cancel(started)
    assert not started.cancelled()


def test_closing_ends_the_thread() -> None:
    before = set(threading.enumerate())
    loop = IoLoop()
    assert set(threading.enumerate()) - before
    loop.close()
    assert set(threading.enumerate()) == before
