"""What has been made so far, what it cost and how long it took, added up from the ledger; not in test mode.

The ledger is append-only and its ids ascend with time. So what is older than ``SETTLED`` is counted once by
each process, in slices, and kept; a scrape then reads the newest minutes only. Every process counts the same
from the beginning of the ledger, and none ever counts backwards.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from gateway.db import Database, now
from gateway.db.ids import first_id
from gateway.db.tables import attempts, ledger_entries, videos

SETTLED = timedelta(minutes=5)
"""Longer than any transaction, and than clocks differ: no entry with an older id will still appear."""

SLICE = 50_000
BUDGET_S = 3.0
"""How long one call may go on counting history: with a scrape's timeout in mind, often 10 s."""

PARTS = ("queued", "submit", "provider_queue", "render", "detection_lag", "transfer", "store", "total")
"""The parts of an attempt's latency: the columns of this name with ``_ms``."""

BOUNDS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, math.inf)


@dataclass
class Totals:
    """Counts since the beginning of the ledger; money in micro-USD, latency in milliseconds.

    ``latency`` holds delivered attempts by (adapter, part, bound in seconds), each bound counting what lies
    within it, and ``latency_ms`` their sums.
    """

    videos: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(status, model)"""
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(adapter, state)"""
    charged: Counter[str] = field(default_factory=Counter)
    """model"""
    cost: Counter[str] = field(default_factory=Counter)
    """adapter"""
    latency: Counter[tuple[str, str, float]] = field(default_factory=Counter)
    latency_ms: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Totals) -> None:
        """Add another part of history."""
        for name, counts in vars(other).items():
            getattr(self, name).update(counts)


class History:
    """The totals as this process knows them; one caller at a time."""

    def __init__(self) -> None:
        self._kept = Totals()
        self._until = ""

    def read(self, db: Database) -> Totals | None:
        """The totals up to now; None while the history is still being counted, which the next call goes on
        with."""
        begun = time.monotonic()
        horizon = first_id("led", now() - SETTLED)
        while self._until < horizon:
            if time.monotonic() - begun > BUDGET_S:
                return None
            with db.read() as connection:
                until = _slice_end(connection, self._until, horizon)
                self._kept.add(_count(connection, self._until, until))
            self._until = until
        with db.read() as connection:
            totals = _count(connection, self._until, None)
        totals.add(self._kept)
        return totals


def _slice_end(connection: sa.Connection, after: str, before: str) -> str:
    ids = ledger_entries.c.id
    query = sa.select(ids).where(ids > after, ids <= before).order_by(ids).offset(SLICE - 1).limit(1)
    return str(connection.execute(query).scalar() or before)


def _count(connection: sa.Connection, after: str, until: str | None) -> Totals:
    totals = Totals()
    _count_videos(connection, totals, after, until)
    _count_attempts(connection, totals, after, until)
    return totals


def _entries(
    columns: list[sa.ColumnElement[Any]], kinds: tuple[str, ...], after: str, until: str | None
) -> Any:
    query = (
        sa.select(*columns)
        .join_from(ledger_entries, attempts, attempts.c.id == ledger_entries.c.attempt_id)
        .join(videos, videos.c.id == ledger_entries.c.video_id)
        .where(ledger_entries.c.id > after, ledger_entries.c.kind.in_(kinds), videos.c.livemode)
    )
    return query if until is None else query.where(ledger_entries.c.id <= until)


def _count_videos(connection: sa.Connection, totals: Totals, after: str, until: str | None) -> None:
    """A hold is released once, when its video ends; if it was completed, a charge went before."""
    keys = [attempts.c.model, ledger_entries.c.kind]
    sums = [sa.func.count().label("n"), sa.func.sum(ledger_entries.c.amount_micro_usd).label("micro_usd")]
    query = _entries([*keys, *sums], ("charge", "release"), after, until).group_by(*keys)
    for row in connection.execute(query):
        if row.kind == "charge":
            totals.videos["completed", row.model] += row.n
            totals.videos["failed", row.model] -= row.n
            totals.charged[row.model] += int(row.micro_usd)
        else:
            totals.videos["failed", row.model] += row.n


def _count_attempts(connection: sa.Connection, totals: Totals, after: str, until: str | None) -> None:
    """The books of an attempt are closed with what it cost, or with a note that it cost nothing."""
    keys = [attempts.c.adapter, attempts.c.state]
    sums = [sa.func.count().label("n"), sa.func.sum(ledger_entries.c.amount_micro_usd).label("micro_usd")]
    query = _entries([*keys, *sums, *_latencies()], ("actual", "void"), after, until).group_by(*keys)
    for row in connection.execute(query):
        totals.attempts[row.adapter, row.state] += row.n
        totals.cost[row.adapter] += int(row.micro_usd)
        if row.state == "succeeded":
            _add_latencies(totals, row)


def _latencies() -> list[sa.ColumnElement[Any]]:
    """For each part how many lie within each bound, and their sum."""
    columns: list[sa.ColumnElement[Any]] = []
    for part in PARTS:
        value = attempts.c[f"{part}_ms"]
        for number, bound in enumerate(BOUNDS_S):
            within = value if bound == math.inf else sa.case((value <= round(bound * 1000), 1))
            columns.append(sa.func.count(within).label(f"{part}_{number}"))
        columns.append(sa.func.coalesce(sa.func.sum(value), 0).label(f"{part}_sum"))
    return columns


def _add_latencies(totals: Totals, row: sa.Row[Any]) -> None:
    for part in PARTS:
        if getattr(row, f"{part}_{len(BOUNDS_S) - 1}"):
            for number, bound in enumerate(BOUNDS_S):
                totals.latency[row.adapter, part, bound] += getattr(row, f"{part}_{number}")
            totals.latency_ms[row.adapter, part] += int(getattr(row, f"{part}_sum"))
