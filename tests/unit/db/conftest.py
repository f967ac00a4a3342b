"""A migrated database of its own for each test, and processes that are let go at the same moment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.db import Database
from gateway.db.migrate import upgrade

Race = Callable[[str], list[str]]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A database without a table."""
    db = Database(f"sqlite:///{tmp_path / 'empty' / 'test.db'}")
    yield db
    db.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database at the newest revision."""
    file = tmp_path_factory.mktemp("migrated") / "test.db"
    db = Database(f"sqlite:///{file}")
    upgrade(db)
    db.close()
    return file


@pytest.fixture
def db(empty: Database, migrated: Path) -> Database:
    assert empty.url.database is not None
    shutil.copy(migrated, empty.url.database)
    return empty


@pytest.fixture
def race() -> Race:
    """Runs ``body`` in two processes that have done their imports; returns what each printed."""

    def run(body: str) -> list[str]:
        script = (
            f"import sys\n{body}\nprint('ready', flush=True)\nsys.stdin.readline()\nprint(go(), flush=True)"
        )
        racers = [_racer(script) for _ in range(2)]
        try:
            for racer in racers:
                assert racer.stdout is not None
                assert racer.stdout.readline() == "ready\n"
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            replies = [racer.communicate(timeout=30)[0].strip() for racer in racers]
        finally:
            for racer in racers:
                racer.kill()
                racer.communicate()
        assert [racer.returncode for racer in racers] == [0, 0]
        return replies

    return run


def _racer(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
