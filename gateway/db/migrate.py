"""Schema migrations: alembic, from the repository's ``migrations/`` or the copy in the wheel."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from gateway.db.engine import Database

LOCK_ID = 7_336_574
"""Postgres advisory lock: of several processes starting at once, one migrates."""


def migrations_dir() -> Path:
    """The repository's folder when run from a checkout, else the wheel's."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "migrations"
    return checkout if (checkout / "env.py").exists() else package / "_migrations"


def upgrade(db: Database) -> None:
    """Bring the schema to the newest revision; several processes may call this at once."""
    if current_revision(db) == head_revision():
        return
    with db.write() as connection:
        if not db.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_ID)))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def current_revision(db: Database) -> str | None:
    """The revision the database is at; None before the first migration."""
    with db.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """The newest revision of this code."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    return config
