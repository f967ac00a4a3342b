"""Executors that fail, die, freeze and end: their work goes on, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from gateway.db import leases, now
from gateway.db.tables import leases as lease_rows
from gateway.jobs import attempts as attempts_module
from gateway.jobs import engine as engine_module
from gateway.jobs.engine import Engine
from gateway.jobs.locks import ProcessLock, dead_processes
from gateway.jobs.presence import Presence
from gateway.routing.gather import TimingCache, gather

from .conftest import World


class Executor:
    """An engine, and the presence of its process, that runs settles with a function of the test."""

    def __init__(self, world: World, settling: Callable[[str], None]) -> None:
        settings = world.runtime.settings
        self.presence = Presence(world.runtime.db, settings.run_dir)
        self.engine = Engine(world.runtime.db, self.presence)
        self.presence.start("worker", ())
        self.engine.start({"settle": settling}, {"settle": 1})

    def stop(self, finish_within_s: float = 0, hand_back: Callable[[], None] = lambda: None) -> bool:
        gone = self.engine.stop(finish_within_s=finish_within_s, hand_back=hand_back)
        self.presence.stop(gone=gone)
        return gone


def _enqueue(world: World, attempt_id: str) -> None:
    with world.runtime.db.write() as connection:
        attempts_module.enqueue_settle(connection, world.runtime, attempt_id, 0)


def _statuses(world: World) -> list[str]:
    query = sa.text(f"SELECT status FROM {world.workflows} WHERE workflow_uuid = 'att_1'")
    with world.runtime.db.read() as connection:
        return [row[0] for row in connection.execute(query)]


def _until(condition: Callable[[], object], seconds: float = 20) -> None:
    tick, rounds = threading.Event(), int(seconds / 0.02)
    assert any(condition() or tick.wait(0.02) for _ in range(rounds)), f"not so within {seconds} s"


def _taken_by(world: World, executor_id: str) -> None:
    """A workflow that this executor was at."""
    _enqueue(world, "att_1")
    claimed = sa.text(f"UPDATE {world.workflows} SET status = 'PENDING', executor_id = '{executor_id}'")
    with world.runtime.db.write() as connection:
        connection.execute(claimed)


def test_a_database_that_fails_for_a_moment_does_not_end_a_workflow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RETRY_FIRST_S", 0.01)
    failures = [
        sa.exc.OperationalError("UPDATE", {}, Exception("database is locked")),
        sa.exc.InterfaceError("SELECT", {}, Exception("connection already closed")),
        sa.exc.InternalError("UPDATE", {}, Exception("read-only transaction")),
        sa.exc.TimeoutError("the pool is empty"),
    ]
    runs: list[str] = []

    def settling(attempt_id: str) -> None:
        runs.append(attempt_id)
        if failures:
            raise failures.pop()

    executor = Executor(world, settling)
    try:
        _enqueue(world, "att_1")
        _until(lambda: _statuses(world) == ["SUCCESS"])
    finally:
        executor.stop()
    assert runs == ["att_1"] * 5


def test_a_workflow_that_waits_for_the_database_when_its_process_ends_is_left_to_others(world: World) -> None:
    begun = threading.Event()

    def settling(attempt_id: str) -> None:
        begun.set()
        raise sa.exc.OperationalError("UPDATE", {}, Exception("gone"))

    executor = Executor(world, settling)
    _enqueue(world, "att_1")
    assert begun.wait(20)
    executor.stop()
    assert _statuses(world) == ["PENDING"], "ended by an error, nothing would run it any more"
    runs: list[str] = []
    successor = Executor(world, runs.append)
    try:
        _until(lambda: _statuses(world) == ["SUCCESS"])
    finally:
        successor.stop()
    assert runs == ["att_1"]


def test_a_dead_process_is_not_forgotten_while_work_of_it_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = world.runtime.settings.run_dir
    runs: list[str] = []
    ProcessLock.take(run_dir, "ex-dead").release()
    _taken_by(world, "ex-dead")
    monkeypatch.setattr(engine_module, "REAP_EVERY_S", 0.05)
    recover, calls = engine_module.DBOS._recover_pending_workflows, []

    def swallowing(executors: list[str]) -> object:
        """The first time nothing comes of it: what fails on one workflow is only logged in there."""
        calls.append(executors)
        return recover(executors) if len(calls) > 1 else []

    monkeypatch.setattr(engine_module.DBOS, "_recover_pending_workflows", swallowing)
    executor = Executor(world, runs.append)
    try:
        _until(lambda: _statuses(world) == ["SUCCESS"])
        _until(lambda: not (run_dir / "ex-dead.lock").exists())
    finally:
        executor.stop()
    assert runs == ["att_1"]


def test_work_of_a_process_of_which_there_is_no_sign_at_all_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "REAP_EVERY_S", 0.05)
    monkeypatch.setattr(engine_module, "ORPHANS_EVERY_S", 0.1)
    runs: list[str] = []
    _taken_by(world, "ex-unheard-of")
    executor = Executor(world, runs.append)
    try:
        _until(lambda: _statuses(world) == ["SUCCESS"])
    finally:
        executor.stop()
    assert runs == ["att_1"]


def test_a_process_that_still_works_when_it_is_to_end_is_not_taken_for_dead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "STOP_WITHIN_S", 1)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def settling(attempt_id: str) -> None:
        begun.set()
        go_on.wait(20)
        ended.set()

    executor = Executor(world, settling)
    _enqueue(world, "att_1")
    assert begun.wait(20)
    assert not executor.stop()
    assert list(dead_processes(world.runtime.settings.run_dir)) == []
    go_on.set()
    assert ended.wait(5)
    executor.presence.stop(gone=True)


def test_what_runs_may_end_by_itself_while_a_process_is_drained(world: World) -> None:
    begun, told, handed_back = threading.Event(), threading.Event(), threading.Event()
    runs: list[str] = []

    def settling(attempt_id: str) -> None:
        begun.set()
        assert told.wait(20)
        runs.append(attempt_id)

    executor = Executor(world, settling)
    _enqueue(world, "att_1")
    assert begun.wait(20)
    timer = threading.Timer(0.3, told.set)
    timer.start()
    assert executor.stop(finish_within_s=20, hand_back=handed_back.set)
    timer.join()
    assert (runs, _statuses(world)) == (["att_1"], ["SUCCESS"])


# --- leases: processes on several machines


@pytest.fixture
def on_postgres(world: World) -> World:
    if world.runtime.db.is_sqlite:
        pytest.skip("on SQLite all processes are on one machine, and file locks tell")
    return world


def _lease(world: World, executor_id: str, age: timedelta, slots: int = 1) -> None:
    """The lease of a process on another machine, renewed that long ago."""
    row = {"executor_id": executor_id, "role": "slot", "host": "elsewhere", "pid": 1, "slots": {"cpu": slots}}
    with world.runtime.db.write() as connection:
        connection.execute(lease_rows.insert().values(**row, seen_at=now() - age, started_at=now() - age))


def test_work_of_a_process_elsewhere_goes_on_once_its_lease_has_expired(
    on_postgres: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = on_postgres
    monkeypatch.setattr(engine_module, "REAP_EVERY_S", 0.05)
    _lease(world, "ex-elsewhere", leases.EXPIRED_AFTER + timedelta(seconds=1))
    _taken_by(world, "ex-elsewhere")
    runs: list[str] = []
    executor = Executor(world, runs.append)
    try:
        _until(lambda: _statuses(world) == ["SUCCESS"])
        _until(lambda: executor.presence.known() == {executor.presence.executor_id})
    finally:
        executor.stop()
    assert runs == ["att_1"]
    assert executor.presence.known() == {executor.presence.executor_id}, "its lock file is left to the next"


def test_work_of_a_process_elsewhere_with_a_fresh_lease_is_left_alone(
    on_postgres: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = on_postgres
    monkeypatch.setattr(engine_module, "REAP_EVERY_S", 0.02)
    monkeypatch.setattr(engine_module, "ORPHANS_EVERY_S", 0.02)
    _lease(world, "ex-elsewhere", timedelta(0))
    _taken_by(world, "ex-elsewhere")
    looked: list[int] = []
    each_dead = Presence.each_dead

    def looking(presence: Presence, recover: Callable[[str], bool]) -> None:
        looked.append(1)
        each_dead(presence, recover)

    monkeypatch.setattr(Presence, "each_dead", looking)
    executor = Executor(world, lambda _: None)
    try:
        _until(lambda: len(looked) > 5)
        assert _statuses(world) == ["PENDING"]
        assert executor.presence.alive("ex-elsewhere")
    finally:
        executor.stop()


def test_a_lease_that_others_removed_is_written_anew(
    on_postgres: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = on_postgres
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    presence = Presence(world.runtime.db, world.runtime.settings.run_dir)
    presence.start("worker", ())
    try:
        with world.runtime.db.write() as connection:
            leases.remove(connection, presence.executor_id, only_expired=False)

        def back() -> bool:
            with world.runtime.db.read() as connection:
                return leases.alive(connection, presence.executor_id)

        _until(back)
    finally:
        presence.stop(gone=True)
    with world.runtime.db.read() as connection:
        assert leases.holders(connection) == set(), "who ends in order leaves no lease behind"


def test_slots_are_counted_over_living_processes_only(on_postgres: World) -> None:
    _lease(on_postgres, "ex-1", timedelta(0), slots=2)
    _lease(on_postgres, "ex-2", timedelta(0))
    _lease(on_postgres, "ex-3", timedelta(minutes=1))
    with on_postgres.runtime.db.read() as connection:
        assert leases.slots_alive(connection) == {"cpu": 3}


def test_a_plan_counts_the_slots_that_live(on_postgres: World) -> None:
    runtime = on_postgres.runtime
    assert _slots_in_a_plan(on_postgres) == 1, "as the settings say, while no worker says otherwise"
    _lease(on_postgres, "ex-1", timedelta(0), slots=3)
    runtime.timings = TimingCache()
    assert _slots_in_a_plan(on_postgres) == 3


def _slots_in_a_plan(world: World) -> int:
    runtime = world.runtime
    with runtime.db.read() as connection:
        facts = gather(
            connection,
            runtime.settings,
            runtime.registry,
            tier="basic",
            budget_left_micro_usd=None,
            today=now().date(),
            timings=runtime.timings,
        )
    return facts.pools["cpu"].slots
