"""The watcher looks at many jobs at once: together where that saves work, apart where it could do harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.jobs import recorder as recorder_module
from gateway.jobs import watch as watch_module
from gateway.jobs.due import LEASE, claim_due, extend
from gateway.jobs.hooks import wake
from gateway.jobs.watch import Watcher
from gateway.spec import Queued, Running, Snapshot, Succeeded, Ticket, Unavailable

from .conftest import World

A_SECOND = timedelta(seconds=1)


@pytest.fixture
def jobs(world: World) -> list[Any]:
    """Five attempts that are at their provider, and due."""
    made = [world.submitted(world.accept(options={"echo_remote": {"latency_ms": 60_000}})) for _ in range(5)]
    for one in made:
        world.update(one.id, next_poll_at=now() - A_SECOND)
    return made


def _says(monkeypatch: pytest.MonkeyPatch, world: World, answer: Callable[[str], Any]) -> list[str]:
    """Have the provider answer by the job's id; the list is of the ids that were asked for."""
    asked: list[str] = []

    async def poll(ticket: Ticket) -> Snapshot:
        asked.append(ticket.id)
        said = answer(ticket.id)
        if isinstance(said, Exception):
            raise said
        seen: Snapshot = await said if asyncio.iscoroutine(said) else said
        return seen

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", poll)
    return asked


def _rounds(world: World, count: int = 1) -> None:
    async def rounds() -> None:
        watcher = Watcher(world.runtime)
        for _ in range(count):
            await watcher._tick()
            await asyncio.gather(*watcher._looks)

    world.runtime.io.run(rounds())


@contextmanager
def _counted(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[list[None]]:
    """The writing transactions inside the block."""
    transactions: list[None] = []
    original = world.runtime.db.write

    def write() -> Any:
        transactions.append(None)
        return original()

    with monkeypatch.context() as patch:
        patch.setattr(world.runtime.db, "write", write)
        yield transactions


def test_what_was_seen_of_many_is_recorded_together(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Sequence[Any] = (
        Queued(),
        Queued(poll_after_ms=9_000),
        Running(progress=30),
        Running(),
        Succeeded(url="https://cdn.example/clip.mp4"),
    )
    answers = {job.upstream_id: one for job, one in zip(jobs, said, strict=True)}
    _says(monkeypatch, world, answers.__getitem__)
    at = now()
    with _counted(monkeypatch, world) as transactions:
        _rounds(world)
    assert len(transactions) == 2, "the claim, and what was seen"
    after = [world.attempt(job.video_id) for job in jobs]
    assert [one.state for one in after] == ["queued", "queued", "running", "running", "fetching"]
    assert [one.snapshot for one in after[:3]] == [
        {"state": "queued"},
        {"state": "queued"},
        {"state": "running", "progress": 30},
    ]
    assert [one.running_at is not None for one in after] == [False, False, True, True, False]
    assert all(one.last_poll_at >= at for one in after)
    assert after[1].next_poll_at >= at + timedelta(seconds=9)
    assert world.video(jobs[2].video_id).progress == 30
    assert world.enqueued()[-1] == jobs[4].id


def test_a_look_that_shows_nothing_new_changes_no_snapshot(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _says(monkeypatch, world, lambda _: Running(progress=10))
    _rounds(world)
    before = [world.attempt(job.video_id) for job in jobs]
    for job in jobs:
        world.update(job.id, next_poll_at=now() - A_SECOND)
    written: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE attempts"):
            written.append(statement)

    sa.event.listen(world.runtime.db.engine, "before_cursor_execute", note)
    _rounds(world)
    sa.event.remove(world.runtime.db.engine, "before_cursor_execute", note)
    after = [world.attempt(job.video_id) for job in jobs]
    assert len(written) == 2
    assert not any("snapshot" in statement.partition("WHERE")[0] for statement in written)
    assert all(new.last_poll_at > old.last_poll_at for new, old in zip(after, before, strict=True))
    assert [one.running_at for one in after] == [one.running_at for one in before]


def test_one_that_fails_is_put_off_and_the_others_go_on(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = jobs[2].upstream_id
    _says(monkeypatch, world, lambda id: Unavailable("bad gateway") if id == bad else Running())
    _rounds(world)
    after = [world.attempt(job.video_id) for job in jobs]
    assert [one.state for one in after] == ["running", "running", "submitted", "running", "running"]
    assert [one.tries for one in after] == [0, 0, 1, 0, 0]


def test_a_slow_answer_does_not_hold_the_others_up(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MOMENT_S", 0.01)
    original, slow = recorder_module.observe_all, jobs[0].upstream_id

    async def rounds() -> list[str]:
        answered, recorded = asyncio.Event(), asyncio.Event()

        async def late() -> Snapshot:
            await answered.wait()
            return Succeeded()

        def observe_all(*arguments: Any) -> None:
            original(*arguments)
            loop.call_soon_threadsafe(recorded.set)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(recorder_module, "observe_all", observe_all)
        _says(monkeypatch, world, lambda id: late() if id == slow else Succeeded())
        watcher = Watcher(world.runtime)
        await watcher._tick()
        await recorded.wait()
        states = [world.attempt(job.video_id).state for job in jobs]
        answered.set()
        await asyncio.gather(*watcher._looks)
        return states

    states = world.runtime.io.run(rounds())
    assert states == ["submitted", *["fetching"] * 4]
    assert world.attempt(jobs[0].video_id).state == "fetching"


def test_an_answer_for_fewer_than_were_asked_about_is_a_failed_look(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poll_many(tickets: Sequence[Ticket]) -> list[Snapshot]:
        return [Succeeded()]

    adapter = world.runtime.registry.adapters["echo_remote"]
    monkeypatch.setattr(adapter, "poll_many", poll_many, raising=False)
    _rounds(world)
    after = [world.attempt(job.video_id) for job in jobs]
    assert {(one.state, one.tries) for one in after} == {("submitted", 1)}


def test_what_is_woken_while_it_is_looked_at_is_looked_at_again(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs[0]

    async def ended_meanwhile() -> Snapshot:
        assert await asyncio.to_thread(wake, world.runtime, "echo_remote", job.id, []) == 1
        return Queued(poll_after_ms=10_000)

    answers = iter([ended_meanwhile, Succeeded])
    asked = _says(
        monkeypatch,
        world,
        lambda id: next(answers)() if id == job.upstream_id else Queued(poll_after_ms=10_000),
    )
    _rounds(world, 2)
    assert asked.count(job.upstream_id) == 2
    assert world.attempt(job.video_id).state == "fetching"
    assert len(asked) == len(jobs) + 1, "the others wait for their time"


def test_no_lease_is_prolonged_that_was_given_up_or_woken(world: World, jobs: list[Any]) -> None:
    held = {row.id: row.next_poll_at for row in claim_due(world.runtime.db, now(), (), ())}
    assert held.keys() == {job.id for job in jobs}
    soon, later = now(), now() + timedelta(hours=1)
    world.update(jobs[0].id, next_poll_at=soon)
    world.update(jobs[1].id, next_poll_at=later)
    until = now() + 2 * LEASE
    extend(world.runtime.db, held, until)
    found = [world.attempt(job.video_id).next_poll_at for job in jobs]
    assert found == [soon, later, until, until, until]


def test_a_round_says_whether_more_may_be_due(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "BATCH", len(jobs))
    _says(monkeypatch, world, lambda _: Queued(poll_after_ms=10_000))

    async def rounds() -> list[bool]:
        watcher = Watcher(world.runtime)
        more = [await watcher._tick(), await watcher._tick()]
        await asyncio.gather(*watcher._looks)
        return more

    assert world.runtime.io.run(rounds()) == [True, False]


def test_what_is_at_work_here_is_not_claimed_again(world: World, jobs: list[Any]) -> None:
    at_work = {jobs[0].id, jobs[3].id}
    claimed = {row.id for row in claim_due(world.runtime.db, now(), at_work, ())}
    assert claimed == {job.id for job in jobs} - at_work
    assert world.attempt(jobs[0].video_id).next_poll_at < now(), "it stays due"


def test_of_an_account_that_has_enough_at_work_no_more_is_claimed(
    world: World, jobs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "ENOUGH", len(jobs))
    other = world.submitted(world.accept())
    world.update(other.id, account="second", next_poll_at=now() + LEASE)
    more = world.submitted(world.accept())

    async def rounds() -> tuple[set[str], set[str]]:
        answered = asyncio.Event()

        async def late() -> Snapshot:
            await answered.wait()
            return Queued(poll_after_ms=10_000)

        _says(monkeypatch, world, lambda _: late())
        watcher = Watcher(world.runtime)
        await watcher._tick()
        for one in (more, other):
            await asyncio.to_thread(world.update, one.id, next_poll_at=now() - A_SECOND)
        busy = watcher._claim_due()
        answered.set()
        await asyncio.gather(*watcher._looks)
        free = watcher._claim_due()
        return {row.id for row in busy}, {row.id for row in free}

    assert world.runtime.io.run(rounds()) == ({other.id}, {more.id})


def test_what_is_due_is_found_without_reading_every_attempt(world: World) -> None:
    if not world.runtime.db.is_sqlite:
        pytest.skip("a planner that knows how few rows there are reads them all")
    ran: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    sa.event.listen(world.runtime.db.engine, "before_cursor_execute", note)
    claim_due(world.runtime.db, now(), (), [("echo_remote", "full")])
    sa.event.remove(world.runtime.db.engine, "before_cursor_execute", note)
    ((query, parameters),) = ran
    with world.runtime.db.read() as connection:
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters).all()
    assert any("ix_attempts_state_next_poll_at" in step.detail for step in steps), steps
