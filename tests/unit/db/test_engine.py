"""The two kinds of transaction, what SQLite is told at each connection, and times in UTC."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import CommitUnknown, Database, now
from gateway.db.engine import PING_AFTER_S, Turns
from gateway.db.keys import create_tenant
from gateway.db.tables import api_keys, tenants
from gateway.jobs.persist import DATABASE_FAILURES


def _names(db: Database) -> list[str]:
    with db.read() as connection:
        return [row.name for row in connection.execute(sa.select(tenants.c.name))]


def test_what_is_written_while_reading_does_not_last(db: Database) -> None:
    with (
        db.read() as connection,
        nullcontext() if db.is_sqlite else pytest.raises(sa.exc.InvalidRequestError),
    ):
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
    """On SQLite. With a plain BEGIN both would read first, and the second to write would be refused as stale.
    (On Postgres, who decides by what is read locks its row: tests/integration/jobs/test_contention.py.)"""
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


def _commit_fails(db: Database, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The database takes the block's statements, and its commit fails like this."""

    def commit(_: object) -> None:
        raise sa.exc.OperationalError("COMMIT", None, error)

    monkeypatch.setattr(sa.engine.RootTransaction, "commit", commit)
    with db.write() as connection:
        create_tenant(connection, "acme", "basic")


def test_whoever_loses_the_database_in_its_commit_is_told_that_nobody_knows(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommitUnknown, match="connection lost"):
        _commit_fails(db, monkeypatch, ConnectionError("connection lost"))


def test_a_full_disk_certainly_commits_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    with pytest.raises(sa.exc.OperationalError) as raised:
        _commit_fails(db, monkeypatch, full)
    assert not isinstance(raised.value, CommitUnknown)


def test_a_connection_that_died_while_idle_is_replaced(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite has no server to lose")
    with db.read() as connection:
        dead = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        killer = Database(db.url.render_as_string(hide_password=False))
    with killer.read() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": dead})
    killer.close()
    clock = time.monotonic()
    monkeypatch.setattr("gateway.db.engine.time.monotonic", lambda: clock + PING_AFTER_S + 1)
    assert _names(db) == []


def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[int]()

    def ask(number: int) -> None:
        with turns.take(10):
            order.append(number)

    with ThreadPoolExecutor(4) as pool, turns.take(10):
        for number in range(4):
            pool.submit(ask, number)
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    assert order == [0, 1, 2, 3]


def test_who_waits_too_long_for_a_turn_goes_on_and_takes_none_away() -> None:
    turns = Turns()
    with turns.take(10):
        with turns.take(0):
            pass
        assert turns._taken
    with turns.take(0):
        assert turns._taken
    assert not turns._taken


@pytest.mark.parametrize(
    "trouble",
    [
        "SET TRANSACTION READ ONLY; CREATE TABLE failover (id INT)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)",
    ],
)
def test_what_postgres_raises_when_it_fails_for_a_while_is_known(postgres: Any, trouble: str) -> None:
    with postgres.new() as url, closing(Database(url)) as db:
        with pytest.raises(DATABASE_FAILURES), db.write() as connection:
            connection.exec_driver_sql(trouble)
        with db.write() as connection:
            create_tenant(connection, "acme", "basic")
        assert _names(db) == ["acme"]
