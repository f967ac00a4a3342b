"""Fair order between the tenants of a device pool."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
import sqlalchemy as sa

from gateway.db.keys import create_tenant
from gateway.db.tables import tenants
from gateway.jobs.shares import CLASS_SIZE, join_queue, leave_queue
from gateway.spec import Priority

from .conftest import World

SECOND = Decimal(1000)


class Pool:
    """A pool of one slot, whose queue is kept here, in the order that :mod:`gateway.jobs.shares` gives it."""

    def __init__(self, world: World) -> None:
        self._db = world.runtime.db
        self._ids: dict[str, str] = {}
        self._waiting: list[tuple[int, int, str]] = []
        self._joined = 0

    def tenant(self, name: str, weight: int = 1) -> None:
        with self._db.write() as connection:
            self._ids[name] = create_tenant(connection, name, "basic")
            mine = tenants.update().where(tenants.c.id == self._ids[name])
            connection.execute(mine.values(weight=weight))

    def join(self, name: str, jobs: int = 1, *, ms: Decimal = SECOND, kind: Priority = "interactive") -> None:
        for _ in range(jobs):
            with self._db.write() as connection:
                priority = join_queue(connection, "cpu", self._ids[name], kind, device_ms=ms, slots=1)
            assert 1 <= priority < 2**31, "what the engine takes"
            self._joined += 1
            self._waiting.append((priority, self._joined, name))

    def start(self, jobs: int) -> str:
        """Start as many, and say whose they were, in order."""
        order = ""
        for _ in range(jobs):
            first = min(self._waiting)
            self._waiting.remove(first)
            with self._db.write() as connection:
                leave_queue(connection, "cpu", first[0])
            order += first[2]
        return order


@pytest.fixture
def pool(world: World) -> Pool:
    made = Pool(world)
    for name in "ABC":
        made.tenant(name)
    return made


def test_who_floods_a_pool_keeps_nobody_waiting(pool: Pool) -> None:
    pool.join("A", 40)
    assert pool.start(5) == "AAAAA"
    pool.join("B", 10)
    pool.join("C", 10)
    assert Counter(pool.start(30)) == {"A": 10, "B": 10, "C": 10}, "a third each as long as all wait"
    assert pool.start(25) == "A" * 25


def test_turns_are_taken_one_by_one(pool: Pool) -> None:
    pool.join("A", 4)
    pool.join("B", 4)
    assert pool.start(8) == "ABABABAB"


def test_a_share_is_of_time_and_not_of_jobs(pool: Pool) -> None:
    pool.join("A", 10, ms=4 * SECOND)
    pool.join("B", 40, ms=SECOND)
    begun = Counter(pool.start(25))
    assert begun["B"] == 4 * begun["A"]


def test_a_weight_is_a_larger_share(pool: Pool) -> None:
    pool.tenant("W", weight=3)
    pool.join("A", 30)
    pool.join("W", 30)
    begun = Counter(pool.start(24))
    assert begun["W"] == pytest.approx(3 * begun["A"], abs=2)


def test_an_idle_tenant_saves_nothing_up(pool: Pool) -> None:
    pool.join("A", 20)
    pool.start(20)
    pool.join("B", 10)
    pool.join("A", 10)
    assert Counter(pool.start(10))["B"] == pytest.approx(5, abs=1)


def test_interactive_work_starts_before_batch_and_is_not_charged_for_it(pool: Pool) -> None:
    pool.join("A", 20, kind="batch")
    pool.join("B", 2, kind="batch")
    pool.join("A", 2)
    pool.join("B", 2)
    assert pool.start(4) == "ABAB"
    assert pool.start(4) == "ABAB"


def test_a_pool_that_was_never_idle_in_years_still_queues(pool: Pool, world: World) -> None:
    with world.runtime.db.write() as connection:
        leave_queue(connection, "cpu", CLASS_SIZE - 1)
    pool.join("A", 3)
    pool.join("B", 3)
    assert pool.start(6) == "AAABBB", "by age, once virtual time is used up"


def test_a_job_that_starts_late_does_not_turn_the_clock_back(pool: Pool, world: World) -> None:
    pool.join("A", 5)
    pool.start(5)
    with world.runtime.db.write() as connection:
        leave_queue(connection, "cpu", 1)
        clock = connection.execute(sa.text("SELECT virtual_now FROM pool_clocks")).scalar_one()
    assert clock == 40, "four jobs of a second, in tenths"
