"""The two kinds of transaction, what SQLite is told at each connection, and times in UTC."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from gateway.db import Database, now
from gateway.db.keys import create_tenant
from gateway.db.tables import api_keys, tenants


def _names(db: Database) -> list[str]:
    with db.read() as connection:
        return [row.name for row in connection.execute(sa.select(tenants.c.name))]


def test_what_a_reading_transaction_writes_is_rolled_back(db: Database) -> None:
    with db.read() as connection:
        create_tenant(connection, "acme", "basic")
    assert _names(db) == []


def test_a_writing_transaction_commits_at_its_end(db: Database) -> None:
    with db.write() as connection:
        create_tenant(connection, "acme", "basic")
    assert _names(db) == ["acme"]


def test_a_writing_transaction_that_raises_leaves_nothing(db: Database) -> None:
    def fails() -> None:
        with db.write() as connection:
            create_tenant(connection, "acme", "basic")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert _names(db) == []


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
)
def test_committed_means_durable_and_references_hold(sqlite_db: Database, pragma: str, value: object) -> None:
    with sqlite_db.read() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value


def test_a_row_of_nobody_is_refused(db: Database) -> None:
    orphan = {"id": "key_1", "tenant_id": "ten_none", "lookup": "a", "digest": "b", "name": "c"}
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        connection.execute(api_keys.insert().values(**orphan, admin=False, created_at=now()))


def test_two_transactions_that_read_and_then_write_follow_each_other(sqlite_db: Database) -> None:
    """On SQLite. With a plain BEGIN both would read first, and the second to write would be refused as stale; Postgres locks rows."""
    both_have_read = threading.Barrier(2)
    with sqlite_db.write() as connection:
        tenant = create_tenant(connection, "acme", "basic", 0)

    def add_one() -> None:
        with sqlite_db.write() as connection:
            before = connection.execute(sa.select(tenants.c.monthly_budget_micro_usd)).scalar_one()
            try:
                both_have_read.wait(timeout=0.2)
            except threading.BrokenBarrierError:
                assert both_have_read.broken  # the other could not even read: it waits for this one's end
            mine = tenants.update().where(tenants.c.id == tenant)
            connection.execute(mine.values(monthly_budget_micro_usd=before + 1))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(add_one) for _ in range(2)]:
            done.result(timeout=10)
    with sqlite_db.read() as connection:
        assert connection.execute(sa.select(tenants.c.monthly_budget_micro_usd)).scalar_one() == 2


@pytest.mark.parametrize("hours", [0, 9, -5])
def test_times_come_back_aware_in_utc_and_mean_the_same_moment(db: Database, hours: int) -> None:
    moment = datetime(2026, 12, 1, 2, 30, 15, 123456, tzinfo=timezone(timedelta(hours=hours)))
    with db.write() as connection:
        create_tenant(connection, "acme", "basic")
        connection.execute(tenants.update().values(created_at=moment))
        found = connection.execute(sa.select(tenants.c.created_at)).scalar_one()
        same = connection.execute(sa.select(tenants.c.id).where(tenants.c.created_at == moment)).all()
    assert found == moment
    assert found.tzinfo is UTC
    assert len(same) == 1
