"""The gateway's processes, started again whenever they die, as a supervisor would."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from typing_extensions import override

from .checker import Read, postgres_reader, sqlite_reader
from .machine import family, free_port
from .points import CONSTANTS, POINTS
from .postgres import Postgres

HOOK = Path(__file__).resolve().parent / "hook"
GREETED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.02
END_WITHIN_S = 60.0
MAX_SELF_EXITS = 60
"""So often a process may end of its own accord, all together, before the campaign calls it broken."""


@dataclass
class Child:
    """One process that is kept alive; ``role`` is ``serve``, ``api``, ``worker`` or ``sandbox``."""

    role: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[str] | None = None
    greeting: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli.main", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.role != "worker" else log,
                stderr=log,
                text=True,
                env=dict(self.environment),
                start_new_session=True,
            )
        if self.process.stdout is not None:
            threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def greeted(self) -> dict[str, Any]:
        """What it said on stdout, once it has."""
        until = time.monotonic() + GREETED_WITHIN_S
        while not self.greeting:
            if time.monotonic() > until or self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.role} did not start: {self.log.read_text()[-2000:]}")
            time.sleep(LOOK_EVERY_S)
        return self.greeting

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self.process is not None
        return self.process.pid

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self.greeting = json.loads(line)

    def stop(self) -> None:
        """End it, in order if it does so in time."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)


def plain_environment() -> dict[str, str]:
    """This process's environment without a gateway's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REELGATE_")}


class Deployment:
    """A gateway on one database: its processes, where they keep things, and how to read what they wrote."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.crash_dir = folder / "crash"
        self.temp_dir = folder / "tmp"  # what is killed tidies nothing up
        self.port = free_port()
        self.children: list[Child] = []
        self.self_exits: list[str] = []
        self.last_death = time.time()
        self.deaths = 0
        self._config: dict[str, object] = {**config, "key_pepper": secrets.token_hex(32)}
        self._held = threading.Event()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self.crash_dir.mkdir(parents=True)
        self.temp_dir.mkdir()
        self._prepare(self.data_dir)

    @property
    def url(self) -> str:
        """Where the API listens, after every restart too."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """The folder of the object store."""
        return self.data_dir / "store"

    @property
    def bill(self) -> Path:
        """The imitated provider's own record."""
        return self.data_dir / "echo" / "bill.jsonl"

    @property
    def read(self) -> Read:
        """Plain SQL on the database."""
        return sqlite_reader(self.data_dir / "reelgate.db")

    def write(self, sql: str) -> None:
        """One statement, committed."""
        with contextlib.closing(sqlite3.connect(self.data_dir / "reelgate.db", timeout=30)) as connection:
            connection.execute(sql)
            connection.commit()

    def start(self) -> str:
        """Start every process and keep it alive; return the first start's admin key."""
        self._children()
        for child in self.children:
            child.start()
        key = self.children[0].greeted()["key"]
        self._keeper.start()
        return str(key)

    def tenant(self, name: str) -> tuple[str, str]:
        """The id and a key of a new tenant."""
        made = self.cli("keys", "create", "--json", "--tenant", name, "--tier", "enterprise")
        rows = self.read(f"SELECT id FROM tenants WHERE name = '{name}'")
        return str(rows[0]["id"]), str(json.loads(made)["key"])

    def cli(self, *words: str) -> str:
        """What a command on the gateway's data prints.

        Raises:
            subprocess.SubprocessError: it failed, or took longer than a minute.
        """
        command = [sys.executable, "-m", "gateway.cli.main", *words, "--data-dir", str(self.data_dir)]
        environment = dict(self._environment())
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def configure(self, **settings: object) -> None:
        """Change settings before the first start."""
        self._config |= settings
        self._prepare(self.data_dir)

    def until_quiet(self, within_s: float) -> None:
        """Wait until nothing is left to do, at most so long."""
        until = time.monotonic() + within_s
        left = (
            "SELECT count(*) AS left_open FROM attempts a JOIN videos v ON v.id = a.video_id"
            " WHERE v.status IN ('queued', 'in_progress') OR a.settled_at IS NULL"
        )
        while self.read(left)[0]["left_open"] and time.monotonic() < until:
            time.sleep(0.2)

    def kill(self, pid: int) -> None:
        """kill -9, and note when."""
        self.last_death = time.time()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.deaths += 1

    def living(self) -> list[int]:
        """Every process of the gateway."""
        return [pid for child in self.children if child.process for pid in family(child.pid)]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Start nothing again meanwhile."""
        self._held.set()
        try:
            yield
        finally:
            self._held.clear()

    def stop(self) -> None:
        """Stop everything in order; what does not end in time is killed, with all that descends from it."""
        self._stop.set()
        if self._keeper.is_alive():
            self._keeper.join()
        everyone = self.living()
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        until = time.monotonic() + END_WITHIN_S
        for child in self.children:
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(timeout=max(0.1, until - time.monotonic()))
        for pid in {*everyone, *self.living()}:
            with contextlib.suppress(ProcessLookupError):
                if family(pid):
                    os.kill(pid, signal.SIGKILL)
        for child in self.children:
            if child.process is not None:
                child.process.wait(timeout=10)

    def tail(self, lines: int = 15) -> str:
        """The ends of the logs."""
        found = sorted(self.folder.glob("*.log"))
        return "\n".join("\n".join(log.read_text().splitlines()[-lines:]) for log in found)

    def _children(self) -> None:
        command = ["serve", "--json", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        self.children = [Child("serve", command, self.folder / "serve.log", self._environment())]

    def _prepare(self, data_dir: Path) -> None:
        data_dir.mkdir(exist_ok=True)
        (data_dir / "config.yaml").write_text(json.dumps(self._config))  # JSON is YAML

    def _environment(self) -> dict[str, str]:
        return plain_environment() | {
            "PYTHONPATH": str(HOOK),
            "TMPDIR": str(self.temp_dir),
            "CRASH_DIR": str(self.crash_dir),
            "CRASH_POINTS": json.dumps(POINTS),
            "CRASH_SET": json.dumps(CONSTANTS),
            "OMP_NUM_THREADS": "1",
        }

    def _keep(self) -> None:
        while not self._stop.is_set():
            for child in self.children:
                assert child.process is not None
                code = child.process.poll()
                if code is None or self._held.is_set():
                    continue
                self.last_death = time.time()
                if code != -signal.SIGKILL:
                    self.self_exits.append(f"{child.role} ended with status {code}")
                    if len(self.self_exits) > MAX_SELF_EXITS:
                        return
                child.start()
            self._stop.wait(LOOK_EVERY_S)


class OnPostgres(Deployment):
    """One API process and three workers. ``apart``: each with its own data folder, one store, one bill."""

    def __init__(
        self, folder: Path, config: Mapping[str, object], postgres: Postgres, *, apart: bool, workers: int = 3
    ) -> None:
        self.postgres = postgres
        self._database = f"campaign_{secrets.token_hex(4)}"
        self._workers = workers
        self._apart = apart
        postgres.create(self._database)
        folder.mkdir(parents=True, exist_ok=True)
        if apart:
            plugins = {"echo_remote": {"bill": str(folder / "bill.jsonl")}}
            config = {**config, "plugins": plugins}
            (folder / "store").mkdir()
        super().__init__(folder, config)

    @property
    @override
    def store(self) -> Path:
        """The folder of the object store."""
        return self.folder / "store" if self._apart else super().store

    @property
    @override
    def bill(self) -> Path:
        """The imitated provider's own record."""
        return self.folder / "bill.jsonl" if self._apart else super().bill

    @property
    @override
    def read(self) -> Read:
        """Plain SQL on the database."""
        return postgres_reader(self.postgres.url(self._database))

    @override
    def write(self, sql: str) -> None:
        """One statement, committed."""
        with psycopg.connect(self.postgres.url(self._database), connect_timeout=5) as connection:
            connection.execute(sql.encode())

    @override
    def _children(self) -> None:
        serve = ["serve", "--role", "api", "--json", "--port", str(self.port)]
        serve += ["--data-dir", str(self.data_dir)]
        self.children = [Child("api", serve, self.folder / "api.log", self._environment())]
        for number in range(self._workers):
            data_dir = self.folder / f"worker{number}" if self._apart else self.data_dir
            if self._apart:
                self._prepare(data_dir)
            work = ["worker", "--slots", f"cpu/{number}", "--data-dir", str(data_dir)]
            log = self.folder / f"worker{number}.log"
            self.children.append(Child("worker", work, log, self._environment()))

    @override
    def _prepare(self, data_dir: Path) -> None:
        super()._prepare(data_dir)
        if self._apart:  # as a network file system would be mounted
            (data_dir / "store").symlink_to(self.folder / "store")

    @override
    def _environment(self) -> dict[str, str]:
        url = self.postgres.url(self._database).replace("postgresql://", "postgresql+psycopg://")
        return super()._environment() | {"REELGATE_DATABASE_URL": url}
