"""The engine, and the two kinds of transaction: reading and writing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random

BUSY_TIMEOUT_MS = 30_000
SQLITE_CONNECTIONS = 15

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_MS = 60_000
"""On Postgres: of a statement, of its wait for a lock, and of a transaction that does nothing."""

CONNECTIONS = 3
CONNECT_TIMEOUT_S = 5

PING_AFTER_S = 1.0
"""A connection used so recently is taken to be alive; if it is not, all of its pool are replaced."""


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class CommitUnknown(sa.exc.OperationalError):
    """The connection was lost while a transaction was committed: it may last, or not."""


class Database:
    """One database, reached through a pool. SQLite runs in WAL with full fsync: committed means durable.

    On Postgres the pool holds at most ``connections``, so that many processes fit one server; whoever finds
    it empty waits.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self.url = sa.engine.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turns = Turns()
        if self.is_sqlite:
            self._prepare_sqlite_file()
            self.engine = sa.create_engine(self.url, pool_size=SQLITE_CONNECTIONS, max_overflow=0)
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            self._reading = self.engine
        else:
            self.engine = postgres_engine(self.url, connections)
            self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
            sa.event.listen(self._reading, "before_execute", _refuse_to_write)

    def _prepare_sqlite_file(self) -> None:
        if self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading: what is written on it is refused, or rolled back at the end.

        On SQLite all that is read is of one moment. On Postgres each statement sees what is committed, as in
        a transaction of its default kind, and the round trips to begin and end one are saved.
        """
        with self._reading.connect() as connection:
            if self.is_sqlite:
                _begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes; committed at the end, rolled back if the block raises.

        On SQLite it takes the write lock at once, so that reading first can never end in a deadlock; the
        threads of a process come one after the other, because SQLite has who finds it locked sleep and look
        again.

        Raises:
            CommitUnknown: the block is done, and the database did not say whether it will last.
        """
        with self._turn(), self.engine.connect() as connection, connection.begin() as transaction:
            if self.is_sqlite:
                _begin(connection, "BEGIN IMMEDIATE")
            yield connection
            try:
                transaction.commit()
            except sa.exc.DBAPIError as error:
                if _undone(error):
                    raise
                raise CommitUnknown(error.statement, error.params, error.orig or error) from error

    def _turn(self) -> AbstractContextManager[None]:
        return self._turns.take(BUSY_TIMEOUT_MS / 1000) if self.is_sqlite else nullcontext()

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()


def postgres_engine(url: sa.URL, connections: int) -> sa.Engine:
    """A pool of at most so many connections, each with the timeouts of this module."""
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
    )
    engine = sa.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={
            "options": options,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "reelgate",
            "prepare_threshold": 2,
        },
    )
    sa.event.listen(engine, "checkin", _note_use)
    sa.event.listen(engine, "checkout", partial(_see_that_it_lives, engine.dialect))
    return engine


def _refuse_to_write(_connection: sa.Connection, clause: Any, *_: Any) -> None:
    if isinstance(clause, sa.UpdateBase):
        raise sa.exc.InvalidRequestError("this connection is for reading: write in Database.write()")


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _see_that_it_lives(dialect: sa.Dialect, connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that was idle for a while for a sign of life; one without is replaced."""
    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < PING_AFTER_S:
        return
    assert dialect.loaded_dbapi is not None
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise sa.exc.DisconnectionError from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late (see _begin)
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@retry(
    retry=retry_if_exception_type(sqlite3.OperationalError),
    stop=stop_after_delay(BUSY_TIMEOUT_MS / 1000),
    wait=wait_random(0.01, 0.05),
    reraise=True,
)
def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a new file to WAL. SQLite waits for no lock here, and another process may be doing the same."""
    if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        cursor.execute("PRAGMA journal_mode = WAL")


def _begin(connection: sa.Connection, statement: str) -> None:
    """Begin a transaction past SQLAlchemy, whose event for it would slow every other statement down.

    Raises:
        sqlalchemy.exc.OperationalError: the database stayed locked.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise sa.exc.OperationalError(statement, None, error) from error


def _undone(error: sa.exc.DBAPIError) -> bool:
    """True if what could not be committed is certainly rolled back."""
    told = getattr(error.orig, "sqlite_errorname", "")
    return isinstance(error, sa.exc.IntegrityError) or told in ("SQLITE_FULL", "SQLITE_BUSY")


class Turns:
    """A lock that threads get in the order in which they asked for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def take(self, within_s: float) -> Iterator[None]:
        """Hold it for a block; one that waits longer goes on without, to what the database itself says."""
        mine = self._ask(within_s)
        try:
            yield
        finally:
            if mine:
                self._pass_on()

    def _ask(self, within_s: float) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(within_s):
            return True
        with self._guard:
            if turn.is_set():  # at the last moment
                return True
            self._waiting.remove(turn)
            return False

    def _pass_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
