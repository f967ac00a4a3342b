"""New databases for tests, in some 40 ms: each is a copy of one that was migrated once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from gateway.db import Database
from gateway.db.migrate import upgrade
from gateway.jobs.engine import migrate_engine

SERVER = Path(__file__).with_name("_postgres.py")
STOP_WITHIN_S = 30


class Databases(Protocol):
    """Makes databases of one kind; each is gone at the end of its context, which gives its URL."""

    def new(self, *, empty: bool = False) -> AbstractContextManager[str]:
        """A database with all tables, the engine's too; without any if ``empty``."""


class SqliteDatabases:
    """Files, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def new(self, *, empty: bool = False) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder, "test.db")
            if not empty:
                shutil.copy(self._template, file)
            yield f"sqlite:///{file}"

    @cached_property
    def _template(self) -> Path:
        file = self._folder / "template.db"
        _migrate(f"sqlite:///{file}")
        return file


class PostgresDatabases:
    """On the server that this URL leads to, whose role may create databases."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql+psycopg")
        self._server = sa.create_engine(self._url, isolation_level="AUTOCOMMIT", pool_size=1)
        self._made: list[str] = []

    @contextmanager
    def new(self, *, empty: bool = False) -> Iterator[str]:
        name = self._create() if empty else self._create(self._template)
        try:
            yield self._at(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Remove what was kept to copy from."""
        for name in self._made:
            self._drop(name)
        self._server.dispose()

    @cached_property
    def _template(self) -> str:
        name = self._create()
        _migrate(self._at(name))
        return name

    def _at(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _create(self, template: str = "template0") -> str:
        name = f"reelgate_test_{uuid.uuid4().hex}"
        locale = "ENCODING 'UTF8' LOCALE 'C'"  # ids are compared byte by byte, as on SQLite
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} {locale}")
        self._made.append(name)
        return name

    def _drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.remove(name)

    def _execute(self, statement: str) -> None:
        with self._server.connect() as connection:
            connection.exec_driver_sql(statement)


def _migrate(url: str) -> None:
    db = Database(url)
    upgrade(db)
    migrate_engine(db.url)
    db.close()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server: ``TEST_DATABASE_URL`` if that is set, else one that is started, and stopped."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    # in a session of its own, so that Ctrl-C leaves the server to the tests' own tidying up
    server = subprocess.Popen(
        [sys.executable, SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    folder = server.stdout.readline().strip()
    try:
        if not folder:
            raise RuntimeError(f"no Postgres for the tests: {server.communicate()[1]}")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        server.communicate(timeout=STOP_WITHIN_S)  # closes its input, at which it stops
