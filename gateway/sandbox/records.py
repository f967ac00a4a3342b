"""The sandbox's memory: jobs and bill in one SQLite file, written through, read from memory."""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Literal

from gateway.kit.sandbox import Clip, FakeJob, State
from gateway.sandbox.faults import Fault, Strikes

Fate = Literal["succeeded", "failed", "content_refused"]
"""What becomes of a job that nobody cancels."""

_LOCK_TRIES = 30
_LOCK_WAIT_S = 0.1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    provider TEXT NOT NULL, id TEXT NOT NULL, account TEXT NOT NULL, tag TEXT, clip TEXT NOT NULL,
    usd TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL NOT NULL, finished_at REAL NOT NULL,
    data TEXT NOT NULL, callback_url TEXT, fate TEXT NOT NULL, faults TEXT NOT NULL, cancelled_at REAL,
    called_back INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (provider, id));
CREATE TABLE IF NOT EXISTS bill (
    provider TEXT NOT NULL, job_id TEXT NOT NULL, account TEXT NOT NULL, tag TEXT, prompt TEXT NOT NULL,
    usd TEXT NOT NULL, due_at REAL NOT NULL, fate TEXT NOT NULL, cancelled_at REAL,
    PRIMARY KEY (provider, job_id));
CREATE TABLE IF NOT EXISTS signing (key BLOB NOT NULL);
"""


@dataclass
class Held:
    """A job with what the sandbox alone knows of it; ``claim`` is what the last look is told, if no truth."""

    provider: str
    job: FakeJob
    fate: Fate
    faults: tuple[Fault, ...] = ()
    cancelled_at: float | None = None
    called_back: bool = False
    claim: State | None = None
    expired: bool = False
    struck: Strikes = field(default_factory=Strikes)

    def state(self, now: float) -> State:
        """Where it truly stands."""
        if self.cancelled_at is not None:
            return "cancelled"
        if now < self.job.started_at:
            return "queued"
        if now < self.job.finished_at:
            return "running"
        return "succeeded" if self.fate == "succeeded" else "failed"

    def has(self, name: str) -> bool:
        """True if a fault of this name goes with the job."""
        return any(fault.name == name for fault in self.faults)


@dataclass(frozen=True, kw_only=True)
class BillLine:
    """What a provider bills for a job, from ``due_at`` on, unless it failed or was cancelled."""

    provider: str
    job_id: str
    account: str
    tag: str | None
    prompt: str
    usd: Decimal
    due_at: float
    fate: Fate
    cancelled_at: float | None

    def billed(self, now: float) -> Decimal:
        """The dollars billed by ``now``."""
        due = self.fate == "succeeded" and self.cancelled_at is None and self.due_at <= now
        return self.usd if due else Decimal(0)


class Records:
    """One file. It survives the sandbox; one sandbox at a time writes it."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            OSError: another sandbox works on it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._mine = _locked(path)
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        # a kill loses nothing; only the machine's own end could
        self._sql.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        self.signing_key = self._signing_key()
        self._accounts: dict[tuple[str, str], dict[str, Held]] = {}
        self._all: dict[tuple[str, str], Held] = {}
        for held in _held(self._sql):
            self._remember(held)

    def take(self, held: Held, prompt: str) -> None:
        """Keep a new job and put it on the bill, where its prompt tells it from others.

        Raises:
            ValueError: the provider has a job with this id.
        """
        job = held.job
        if (held.provider, job.id) in self._all:
            raise ValueError(f"{held.provider} has a job {job.id} already")
        usd = str(job.usd)
        with self._lock, _transaction(self._sql):
            self._sql.execute(
                "INSERT INTO jobs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(held.provider, job.id, job.account, job.tag, _clip_text(job.clip), usd),
                    *(job.created_at, job.started_at, job.finished_at),
                    *(json.dumps(job.data), job.callback_url, held.fate),
                    *(json.dumps([str(fault) for fault in held.faults]), held.cancelled_at, held.called_back),
                ),
            )
            self._sql.execute(
                "INSERT INTO bill VALUES (?,?,?,?,?,?,?,?,?)",
                (held.provider, job.id, job.account, job.tag, prompt, usd, job.finished_at, held.fate, None),
            )
        self._remember(held)

    def find(self, provider: str, id: str) -> Held | None:
        """A provider's job."""
        return self._all.get((provider, id))

    def of_account(self, provider: str, account: str) -> Sequence[Held]:
        """An account's jobs, oldest first."""
        return list(self._accounts.get((provider, account), {}).values())

    def all(self) -> Sequence[Held]:
        """Every job, oldest first."""
        return list(self._all.values())

    def cancel(self, held: Held, at: float) -> None:
        """Note that the job was cancelled, here and on the bill."""
        held.cancelled_at = at
        key = (at, held.provider, held.job.id)
        with self._lock, _transaction(self._sql):
            self._sql.execute("UPDATE jobs SET cancelled_at=? WHERE provider=? AND id=?", key)
            self._sql.execute("UPDATE bill SET cancelled_at=? WHERE provider=? AND job_id=?", key)

    def called_back(self, held: Held) -> None:
        """Note that the job's callback was made, or given up."""
        held.called_back = True
        with self._lock:
            self._sql.execute(
                "UPDATE jobs SET called_back=1 WHERE provider=? AND id=?", (held.provider, held.job.id)
            )

    def forget(self, held: Held) -> None:
        """Remove the job; its line on the bill stays."""
        del self._all[held.provider, held.job.id]
        del self._accounts[held.provider, held.job.account][held.job.id]
        with self._lock:
            self._sql.execute("DELETE FROM jobs WHERE provider=? AND id=?", (held.provider, held.job.id))

    def bill(self) -> list[BillLine]:
        """All lines, in the order of the jobs."""
        with self._lock:
            return _bill(self._sql)

    def close(self) -> None:
        """Close the file."""
        self._sql.close()
        self._mine.close()

    def _remember(self, held: Held) -> None:
        self._all[held.provider, held.job.id] = held
        self._accounts.setdefault((held.provider, held.job.account), {})[held.job.id] = held

    def _signing_key(self) -> bytes:
        self._sql.execute(
            "INSERT INTO signing SELECT ? WHERE NOT EXISTS (SELECT 1 FROM signing)",
            (secrets.token_bytes(32),),
        )
        ((key,),) = self._sql.execute("SELECT key FROM signing")
        assert isinstance(key, bytes)
        return key


def read_bill(path: Path) -> list[BillLine]:
    """The bill in a sandbox's file, whether the sandbox runs or not.

    Raises:
        FileNotFoundError: no sandbox has run there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No sandbox has kept a bill at {path}")
    connection = sqlite3.connect(path)
    try:
        return _bill(connection)
    finally:
        connection.close()


def _bill(connection: sqlite3.Connection) -> list[BillLine]:
    rows = connection.execute(
        "SELECT provider, job_id, account, tag, prompt, usd, due_at, fate, cancelled_at FROM bill"
        " ORDER BY rowid"
    )
    names = [column[0] for column in rows.description]
    lines = (dict(zip(names, row, strict=True)) for row in rows)
    return [BillLine(**{**line, "usd": Decimal(line["usd"])}) for line in lines]


def _held(connection: sqlite3.Connection) -> Iterator[Held]:
    connection.row_factory = sqlite3.Row
    rows = connection.execute("SELECT * FROM jobs ORDER BY rowid").fetchall()
    connection.row_factory = None
    for row in rows:
        job = FakeJob(
            id=row["id"],
            account=row["account"],
            clip=_clip(row["clip"]),
            usd=Decimal(row["usd"]),
            created_at=row["created_at"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            data=json.loads(row["data"]),
            tag=row["tag"],
            callback_url=row["callback_url"],
        )
        yield Held(
            provider=row["provider"],
            job=job,
            fate=row["fate"],
            faults=tuple(Fault.parse(text) for text in json.loads(row["faults"])),
            cancelled_at=row["cancelled_at"],
            called_back=bool(row["called_back"]),
        )


def _clip_text(clip: Clip) -> str:
    return json.dumps([clip.width, clip.height, str(clip.seconds), clip.fps, clip.audio])


def _clip(text: str) -> Clip:
    width, height, seconds, fps, audio = json.loads(text)
    return Clip(width=width, height=height, seconds=Decimal(seconds), fps=fps, audio=audio)


def _locked(path: Path) -> IO[bytes]:
    """The lock beside the file, held until it is closed or the process ends; a dying holder is waited for."""
    file = path.with_suffix(".lock").open("ab")
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_S)
        else:
            return file
    file.close()
    raise OSError(f"Another sandbox works on {path}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
