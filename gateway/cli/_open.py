"""Opening what a command works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from gateway.cli.exits import CliError, ExitCode
from gateway.db import Database
from gateway.db.keys import Caller, create_tenant
from gateway.db.migrate import current_revision, head_revision
from gateway.db.tables import tenants
from gateway.jobs.runtime import Runtime
from gateway.settings import Settings, load_settings

DEFAULT_TENANT = "default"


@contextmanager
def opened_runtime(data_dir: Path | None) -> Iterator[Runtime]:
    """The gateway's parts, with the database brought up to date and nothing running."""
    runtime = Runtime.open(load_settings(data_dir))
    try:
        yield runtime
    finally:
        runtime.close()


@contextmanager
def found_runtime(data_dir: Path | None) -> Iterator[Runtime]:
    """As :func:`opened_runtime`, of a gateway that was started before.

    Raises:
        CliError: it has no database; a mistyped folder must not be answered as one where nothing is to do.
    """
    with found_database(load_settings(data_dir)), opened_runtime(data_dir) as runtime:
        yield runtime


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """A database that exists and is up to date; it is neither made nor changed.

    Raises:
        CliError: there is none, or its schema is another revision's.
    """
    with found_database(settings) as db:
        at = current_revision(db)
        if at != head_revision():
            raise CliError(
                ExitCode.CONFIG,
                f"The database is at revision {at or 'none'}, this version needs {head_revision()}: "
                "run `reelgate db upgrade`.",
            )
        yield db


@contextmanager
def found_database(settings: Settings) -> Iterator[Database]:
    """A database that exists, at whatever revision.

    Raises:
        CliError: there is none.
    """
    url = sa.engine.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise CliError(
            ExitCode.CONFIG,
            f"There is no database at {url.database} yet: `reelgate serve` makes it, "
            "--data-dir names another folder.",
        )
    db = Database(settings.database_url)
    try:
        yield db
    finally:
        db.close()


def default_tenant(connection: sa.Connection, settings: Settings) -> str:
    """The id of the tenant that the operator's own commands act for; made, with the highest tier, if new."""
    named = sa.select(tenants.c.id).where(tenants.c.name == DEFAULT_TENANT)
    return connection.execute(named).scalar() or create_tenant(connection, DEFAULT_TENANT, settings.tiers[-1])


def operator(runtime: Runtime) -> Caller:
    """The default tenant as a caller, for what the operator does in this process."""
    with runtime.db.write() as connection:
        tenant_id = default_tenant(connection, runtime.settings)
        tier = connection.execute(sa.select(tenants.c.tier).where(tenants.c.id == tenant_id)).scalar_one()
    return Caller(tenant_id=tenant_id, tenant=DEFAULT_TENANT, tier=tier, key_id="", admin=True)
