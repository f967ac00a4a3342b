"""What we ask of the durable engine: JSON in its rows, and starts that live and die with a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import Database
from gateway.jobs.engine import APPLICATION_VERSION, Enqueuer, JsonSerializer, migrate_engine


@pytest.mark.parametrize(
    "value",
    [None, True, 7, 1.5, "ö", ["att_1"], {"args": ["att_1"], "kwargs": {}}, {"nested": [{"a": [None]}]}],
)
def test_values_survive_the_round_trip_as_json(value: Any) -> None:
    serializer = JsonSerializer()
    assert serializer.deserialize(serializer.serialize(value)) == value


@pytest.mark.parametrize(
    "value",
    [ValueError("it broke"), OSError(28, "No space left on device"), datetime(2026, 1, 1, tzinfo=UTC)],
)
def test_what_json_has_no_form_for_is_kept_as_its_text(value: object) -> None:
    serializer = JsonSerializer()
    assert serializer.deserialize(serializer.serialize(value)) == repr(value)


def test_reading_a_row_never_runs_code(tmp_path: Path) -> None:
    pickled_call = "gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu"
    with pytest.raises(ValueError, match="Expecting value"):
        JsonSerializer().deserialize(pickled_call)
    assert JsonSerializer().name() == "reelgate_json"


class Desk:
    """A database with the engine's tables, and an enqueuer."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.enqueuer = Enqueuer(db)

    def enqueue(self, connection: sa.Connection, workflow_id: str) -> None:
        self.enqueuer.enqueue(
            connection, workflow="settle", queue="settle", workflow_id=workflow_id, attempt_id="att_1"
        )

    def rows(self) -> list[Any]:
        schema = "" if self.db.is_sqlite else "dbos."
        query = sa.text(
            "SELECT s.workflow_uuid, s.status, s.name, s.queue_name, s.application_version, i.inputs"
            f" FROM {schema}workflow_status s JOIN {schema}workflow_input i"
            " ON i.workflow_uuid = s.workflow_uuid"
        )
        with self.db.read() as connection:
            return list(connection.execute(query))


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    db = Database(database_url)
    made = Desk(db)
    yield made
    made.enqueuer.close()
    db.close()


def test_what_is_enqueued_is_there_once_the_transaction_commits(desk: Desk) -> None:
    with desk.db.write() as connection:
        desk.enqueue(connection, "start:att_1:0")
    (row,) = desk.rows()
    assert (row.workflow_uuid, row.status, row.name, row.queue_name) == (
        "start:att_1:0",
        "ENQUEUED",
        "settle",
        "settle",
    )
    assert row.application_version == APPLICATION_VERSION, "another version's work would be left untouched"
    assert json.loads(row.inputs) == {"args": ["att_1"], "kwargs": {}}


def test_a_transaction_that_fails_enqueues_nothing(desk: Desk) -> None:
    def fails() -> None:
        with desk.db.write() as connection:
            desk.enqueue(connection, "start:att_1:0")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert desk.rows() == []


def test_an_id_counts_once(desk: Desk) -> None:
    for _ in range(2):
        with desk.db.write() as connection:
            desk.enqueue(connection, "start:att_1:0")
    with desk.db.write() as connection:
        desk.enqueue(connection, "start:att_1:1")
    assert sorted(row.workflow_uuid for row in desk.rows()) == ["start:att_1:0", "start:att_1:1"]


def test_migrating_the_engine_again_keeps_what_is_there(desk: Desk) -> None:
    with desk.db.write() as connection:
        desk.enqueue(connection, "start:att_1:0")
    migrate_engine(desk.db.url)
    assert len(desk.rows()) == 1
