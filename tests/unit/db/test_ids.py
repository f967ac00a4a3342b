"""Ids sort by the moment they were made, and are UUIDv7 inside."""

from __future__ import annotations

import itertools
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from gateway.db import ids, new_id


def _uuid(text: str) -> uuid.UUID:
    """Read an id's 26 digits with a decoder of our own."""
    value = 0
    for digit in text.split("_")[1]:
        value = value * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(digit)
    return uuid.UUID(int=value)


def test_an_id_is_its_prefix_and_26_digits_without_the_ones_that_are_misread() -> None:
    prefix, digits = new_id("video").split("_")
    assert prefix == "video"
    assert len(digits) == 26
    assert not set("".join(new_id("x").split("_")[1] for _ in range(50))) & set("ilou")


def test_inside_is_a_uuid_of_version_7_with_the_time_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_last", 0)  # a burst of another test's ids may have run ahead of the clock
    before = time.time_ns() // 1_000_000
    made = _uuid(new_id("att"))
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_of_one_millisecond_and_of_a_clock_put_back_still_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time_ns()
    clock = itertools.chain([start] * 5_000, [start - 10**9] * 5_000)
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: next(clock)))
    monkeypatch.setattr(ids, "_last", 0)
    made = [new_id("x") for _ in range(10_000)]
    assert made == sorted(set(made))


def test_ids_made_by_many_threads_differ_and_each_thread_sees_its_own_ascend() -> None:
    with ThreadPoolExecutor(8) as pool:
        lots = list(pool.map(lambda _: [new_id("x") for _ in range(500)], range(8)))
    assert len({made for lot in lots for made in lot}) == 4_000
    assert all(lot == sorted(lot) for lot in lots)
