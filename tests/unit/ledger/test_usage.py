"""Usage roll-ups agree with the same figures computed in plain Python."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import new_id
from gateway.db.tables import attempts, ledger_entries, videos
from gateway.ledger.usage import Dimension, UsageRow, usage

from .conftest import NOON, Books

FIRST = date(2026, 12, 1)
DAYS = 4
DIMENSIONS: tuple[Dimension, ...] = ("model", "adapter", "tier", "day")
GROUPINGS = list(chain.from_iterable(combinations(DIMENSIONS, n) for n in (1, 2, 4)))


@dataclass(frozen=True, kw_only=True)
class Made:
    """One video as the test knows it; ``costs`` are its attempts' in micro-USD, None where void."""

    tenant: str
    model: str
    adapter: str
    tier: str
    day: date
    status: str
    charge: int | None
    clip_ms: int
    latency_ms: int | None
    costs: Sequence[int | None]


def _some(dice: random.Random) -> Made:
    status = dice.choice(["queued", "in_progress", "completed", "completed", "completed", "failed"])
    done = status in ("completed", "failed")
    charge = dice.randrange(1000) if status == "completed" else 0
    return Made(
        tenant=dice.choice(["acme", "acme", "other"]),
        model=dice.choice(["echo", "wan"]),
        adapter=dice.choice(["near", "far"]),
        tier=dice.choice(["basic", "pro"]),
        day=FIRST + timedelta(days=dice.randrange(DAYS)),
        status=status,
        charge=charge if done else None,
        clip_ms=dice.randrange(500, 5_000),
        latency_ms=dice.randrange(20) if done else None,  # few values, so that there are ties
        costs=[dice.choice([None, dice.randrange(1000)]) for _ in range(dice.randrange(1, 4))],
    )


def _write(books: Books, made: Sequence[Made]) -> None:
    """All rows in one transaction; the last attempt is the one that counts."""
    with books.db.write() as connection:
        for number, one in enumerate(made):
            for table, row in _rows(books, one, f"video_{number:04}"):
                connection.execute(table.insert().values(**row))


def _rows(books: Books, one: Made, video_id: str) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    tenant = books.tenants[one.tenant]
    at = datetime.combine(one.day, NOON.timetz())
    yield (
        videos,
        {
            "id": video_id,
            "tenant_id": tenant,
            "key_id": books.keys[one.tenant],
            "status": one.status,
            "request": {},
            "plan": {},
            "mode": "final",
            "tier": one.tier,
            "model": one.model,
            "size": "64x64",
            "clip_ms": one.clip_ms,
            "estimate_micro_usd": 1000,
            "hold_micro_usd": 1000,
            "charge_micro_usd": one.charge,
            "created_at": at,
            "created_day": one.day,
            "deadline_at": at,
        },
    )
    for number, cost in enumerate(one.costs, start=1):
        last = number == len(one.costs)
        attempt = {
            "id": f"att_{video_id}_{number}",
            "video_id": video_id,
            "number": number,
            "kind": "local",
            "state": "failed",
            "model": one.model,
            "offer": "o",
            "adapter": one.adapter if last else "an-earlier-one",
            "account": "local",
            "preset": "p",
            "output": {},
            "size": "64x64",
            "clip_ms": one.clip_ms,
            "tuned": False,
            "priority": 1,
            "price": {},
            "price_version": "1",
            "estimate_micro_usd": 999,
            "created_at": at,
            "total_ms": one.latency_ms if last else 10**6,
        }
        yield attempts, attempt
        for kind, amount in (("estimate", 999), ("void", 0) if cost is None else ("actual", cost)):
            yield (
                ledger_entries,
                {
                    "id": new_id("led"),
                    "video_id": video_id,
                    "attempt_id": attempt["id"],
                    "tenant_id": tenant,
                    "account": "provider",
                    "kind": kind,
                    "amount_micro_usd": amount,
                    "subject": f"{attempt['id']}:{kind}",
                    "created_at": at,
                },
            )


def _nearest_rank(values: Sequence[int], percent: int) -> int | None:
    """The smallest value that at least ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _expected(made: Sequence[Made], by: Sequence[Dimension]) -> list[UsageRow]:
    groups: dict[tuple[str, ...], list[Made]] = defaultdict(list)
    for one in made:
        groups[tuple(str(getattr(one, name)) for name in by)].append(one)
    return [_row(dict(zip(by, key, strict=True)), groups[key]) for key in sorted(groups)]


def _row(group: dict[Dimension, str], members: Sequence[Made]) -> UsageRow:
    completed = [one for one in members if one.status == "completed"]
    latencies = [one.latency_ms for one in completed if one.latency_ms is not None]
    return UsageRow(
        group={str(name): value for name, value in group.items()},
        videos=len(members),
        completed=len(completed),
        failed=sum(one.status == "failed" for one in members),
        charge_micro_usd=sum(one.charge or 0 for one in members),
        cost_micro_usd=sum(cost or 0 for one in members for cost in one.costs),
        clip_ms=sum(one.clip_ms for one in completed),
        latency_p50_ms=_nearest_rank(latencies, 50),
        latency_p95_ms=_nearest_rank(latencies, 95),
    )


Ask = Callable[..., list[UsageRow]]


@pytest.fixture
def ask(books: Books) -> Ask:
    def given(**fields: Any) -> list[UsageRow]:
        whole = {"tenant_id": books.tenants["acme"], "since": FIRST, "until": FIRST, **fields}
        with books.db.read() as connection:
            return usage(connection, **whole)

    return given


def test_any_grouping_of_random_books_agrees_with_plain_python(books: Books, ask: Ask) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    books.tenant("other")
    made = [_some(dice) for _ in range(250)]
    _write(books, made)
    until = FIRST + timedelta(days=DAYS - 2)
    in_days = [one for one in made if one.day <= until]
    for by in GROUPINGS:
        mine = [one for one in in_days if one.tenant == "acme"]
        assert ask(until=until, by=by) == _expected(mine, by), f"seed {seed}, by {by}"
        assert ask(tenant_id=None, until=until, by=by) == _expected(in_days, by), f"seed {seed}, by {by}"


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 40, 60, 100])
def test_percentiles_are_the_nearest_rank_and_only_of_what_was_completed(
    books: Books, ask: Ask, count: int
) -> None:
    same: dict[str, Any] = {
        "model": "echo",
        "adapter": "near",
        "tier": "pro",
        "day": FIRST,
        "clip_ms": 1000,
        "costs": [1],
    }
    done = [
        Made(tenant="acme", status="completed", charge=1, latency_ms=ms, **same) for ms in range(1, count + 1)
    ]
    slow = [Made(tenant="acme", status="failed", charge=0, latency_ms=10**9, **same)] * 5
    _write(books, done + slow)
    (row,) = ask()
    assert (row.latency_p50_ms, row.latency_p95_ms) == (-(-count // 2), -(-95 * count // 100))


def test_earlier_attempts_cost_counts_under_the_last_ones_adapter(books: Books, ask: Ask) -> None:
    made = Made(
        tenant="acme",
        model="echo",
        adapter="near",
        tier="pro",
        day=FIRST,
        status="completed",
        charge=40,
        clip_ms=2_000,
        latency_ms=5,
        costs=[30, None, 7],
    )
    _write(books, [made])
    (row,) = ask(by=("adapter",))
    assert row.group == {"adapter": "near"}
    assert (row.videos, row.charge_micro_usd, row.cost_micro_usd) == (1, 40, 37)


def test_both_ends_of_the_days_are_included_and_an_empty_range_is_empty(books: Books, ask: Ask) -> None:
    for offset in range(4):
        books.video(at=NOON + timedelta(days=offset))
    first = NOON.date()

    def days(since: int, until: int) -> list[str]:
        span = {"since": first + timedelta(days=since), "until": first + timedelta(days=until)}
        return [row.group["day"] for row in ask(by=("day",), **span)]

    assert days(1, 2) == ["2026-12-04", "2026-12-05"]
    assert days(2, 2) == ["2026-12-05"]
    assert days(2, 1) == []
