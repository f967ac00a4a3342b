"""Fifty processes fit a Postgres of two hundred connections: what one takes is bounded, and ends in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.db import Database
from gateway.db.keys import Caller, create_key, create_tenant, verify_key
from gateway.db.tables import videos
from gateway.jobs.accept import accept
from gateway.jobs.runtime import SLOT_CONNECTIONS, Runtime
from gateway.settings import Settings, load_settings
from gateway.spec import VideoRequest
from tests._databases import Databases

JOBS = 12


@pytest.fixture
def settings(tmp_path: Path, postgres: Databases) -> Iterator[Settings]:
    with postgres.new() as url:
        yield load_settings(
            tmp_path, database_url=url, isolation="none", enabled_plugins=("echo", "policies")
        )


def _caller(runtime: Runtime) -> Caller:
    with runtime.db.write() as connection:
        tenant = create_tenant(connection, "acme", "enterprise")
        key = create_key(connection, runtime.pepper, tenant, name="test")
    with runtime.db.read() as connection:
        caller = verify_key(connection, runtime.pepper, key.secret)
    assert caller is not None
    return caller


def test_a_busy_process_takes_no_more_connections_than_it_may(settings: Settings) -> None:
    runtime = Runtime.open(settings)
    watching = sa.create_engine(settings.database_url, connect_args={"application_name": "the test"})
    mine = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name <> 'the test'"
        " AND backend_type = 'client backend'"  # the server's own autovacuum works here too
    )
    unfinished = sa.select(sa.func.count()).where(videos.c.status.in_(("queued", "in_progress")))
    most, left, tick = 0, JOBS, threading.Event()
    try:
        caller = _caller(runtime)
        runtime.start()
        for number in range(JOBS):
            request = VideoRequest(prompt="x", model=("echo", "echo-remote")[number % 2])
            accept(runtime, caller, request, {}, reply=lambda record: {"id": record.id})
        for _ in range(3000):
            with watching.connect() as connection:
                most = max(most, connection.execute(mine).scalar_one())
                left = connection.execute(unfinished).scalar_one()
            if not left or tick.wait(0.02):
                break
    finally:
        runtime.close()
        watching.dispose()
    assert left == 0
    assert 2 <= most <= settings.database_connections + 1, "its pool, and its lease"
    replicas, workers, slots = 2, 2, 46
    each = settings.database_connections
    assert replicas * each + workers * (each + 1) + slots * (SLOT_CONNECTIONS + 1) < 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("statement_timeout", "30s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "1min")],
)
def test_nothing_waits_for_ever(settings: Settings, name: str, value: str) -> None:
    db = Database(settings.database_url)
    with db.read() as connection:
        assert connection.exec_driver_sql(f"SHOW {name}").scalar_one() == value
    db.close()
