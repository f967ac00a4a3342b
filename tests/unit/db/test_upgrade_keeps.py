"""A deployment of an earlier release that is upgraded keeps every row, whatever is in it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from gateway.db import Database
from gateway.db.migrate import migrations_dir, upgrade
from gateway.db.tables import attempts, videos

EARLIER = {"0001": 8, "0002": 11, "0003": 11}
"""How many tables a release had."""

MEANT = {
    "status": "completed",
    "state": "outcome_unknown",
    "account": "tenant",
    "ledger_entries.kind": "hold",
}
"""What the check constraints ask for; every other value tells its column."""

ADDED: dict[str, Any] = {"parked": False, "expires_at": None, "continued_from": None}
"""What a video of an earlier release has in the columns that came since."""

VALUES: dict[type[sa.types.TypeEngine[Any]], Any] = {
    sa.Boolean: True,
    sa.BigInteger: 2**40 + 1,
    sa.Integer: 2**30 + 1,
    sa.Float: 23.976,
    sa.Date: date(2026, 2, 28),
    sa.DateTime: datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    sa.JSON: {"prompt": "ein Fluß, 一条河, 🌊", "n": [1, 2.5, None]},
}


def _upgrade_to(db: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    with db.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _value(column: sa.Column[Any]) -> Any:
    """Something in every column, of the length that fits; references lead to the one row there is."""
    for name in (f"{column.table.name}.{column.name}", column.name):
        if name in MEANT:
            return MEANT[name]
    for key in column.foreign_keys:
        return _value(key.column)
    for kind, value in VALUES.items():
        if isinstance(column.type, kind):
            return value
    assert isinstance(column.type, sa.String), column
    return f"{column.table.name} {column.name} {'ö' * 300}"[: column.type.length or 300]


def _rows(db: Database, tables: sa.MetaData) -> dict[str, list[dict[str, Any]]]:
    with db.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in tables.sorted_tables
        }


@pytest.mark.parametrize(("revision", "tables"), EARLIER.items())
def test_nothing_of_any_row_is_lost_and_the_code_of_today_reads_it(
    empty: Database, revision: str, tables: int
) -> None:
    _upgrade_to(empty, revision)
    earlier = sa.MetaData()
    earlier.reflect(empty.engine)
    earlier.remove(earlier.tables["alembic_version"])
    with empty.write() as connection:
        for table in earlier.sorted_tables:
            connection.execute(
                table.insert().values({column.name: _value(column) for column in table.columns})
            )
    before = _rows(empty, earlier)
    assert [len(rows) for rows in before.values()] == [1] * tables
    upgrade(empty)
    assert _rows(empty, earlier) == before
    with empty.read() as connection:
        video = connection.execute(sa.select(videos)).one()
        attempt = connection.execute(sa.select(attempts)).one()
    assert (video.request, video.created_at) == (VALUES[sa.JSON], VALUES[sa.DateTime])
    added = {name: value for name, value in ADDED.items() if name not in earlier.tables["videos"].columns}
    assert {name: getattr(video, name) for name in added} == added
    kept = VALUES[sa.JSON] if "checkpoints" in earlier.tables["attempts"].columns else None
    assert (attempt.checkpoints, attempt.waiting, attempt.upstream_id) == (kept, False, None)
