"""A migrated database of its own for each test, and processes that are let go at the same moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from gateway.db import Database

Race = Callable[[str], list[str]]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    """A database without a table."""
    with closing(Database(empty_database_url)) as db:
        yield db


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with all tables."""
    with closing(Database(database_url)) as db:
        yield db


@pytest.fixture
def sqlite_db(sqlite: Any) -> Iterator[Database]:
    """As ``db``, for what is SQLite's alone."""
    with sqlite.new() as url, closing(Database(url)) as db:
        yield db


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
