"""For all tests: databases of both kinds, fuller output from contract suites, threads that suit two cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ._databases import Databases, PostgresDatabases, SqliteDatabases, postgres_server

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("gateway.kit.testing")


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Makes SQLite databases."""
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Makes Postgres databases; the server starts with the first test that asks."""
    with postgres_server() as url:
        databases = PostgresDatabases(url)
        yield databases
        databases.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """Runs what asks for it on both; the name of the one."""
    return str(request.param)


@pytest.fixture(scope="module")
def databases(backend: str, request: pytest.FixtureRequest) -> Databases:
    """Makes databases, once of each kind."""
    found: Databases = request.getfixturevalue(backend)
    return found


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> Iterator[str]:
    """A database that the tests of a module share."""
    with databases.new() as url:
        yield url


@pytest.fixture
def new_database(databases: Databases) -> Iterator[Callable[[], str]]:
    """Makes databases with all tables, the engine's too; they go when the test ends."""
    with ExitStack() as made:
        yield lambda: made.enter_context(databases.new())


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A database of the test's own, with all tables, the engine's too."""
    return new_database()


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of the test's own, without a table."""
    with databases.new(empty=True) as url:
        yield url


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """An S3 with an empty bucket; see ``_s3.py``."""
    from ._s3 import s3_server  # takes a second to import, which few tests need

    with s3_server() as server:
        yield server
