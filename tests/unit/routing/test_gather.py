"""What planning looks up again and again is read at most so often."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from gateway.routing import gather
from gateway.routing.gather import JOBS_FRESH_S, TimingCache


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time as planning sees it."""
    now = [0.0]
    monkeypatch.setattr("gateway.routing.gather.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The counts that SQL would give, each other than the last."""
    numbers = count(1)
    monkeypatch.setattr(gather, "read_jobs", lambda _: {("cpu", "planned"): next(numbers)})
    return numbers


def test_a_count_of_jobs_is_used_until_it_is_half_a_second_old(
    clock: list[float], readings: Iterator[int]
) -> None:
    cache, connection = TimingCache(), object()

    def waiting() -> int:
        return cache.jobs(connection)["cpu", "planned"]  # type: ignore[arg-type]  # nothing is asked of it

    assert [waiting(), waiting()] == [1, 1]
    clock[0] += JOBS_FRESH_S - 0.001
    assert waiting() == 1
    clock[0] += 0.001
    assert [waiting(), waiting()] == [2, 2]
    assert TimingCache().jobs(connection) == {("cpu", "planned"): 3}  # type: ignore[arg-type]  # as above
