"""kill -9 at random moments, real processes: nothing accepted is lost, nothing is paid or charged twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gateway.db import Database
from gateway.db.tables import artefacts, attempts, ledger_entries, videos
from gateway.kit.testing import decode
from gateway.ledger.verify import verify_ledger
from gateway.media import Store

KILLS = 10
JOBS_A_ROUND = 6
SETTLED_WITHIN_S = 90

TWO_SLOTS = """
enabled_plugins: [echo, policies]
pools: {cpu: {devices: [cpu, cpu], hourly_usd: "0.10"}}
"""
ONE_WAN_SLOT = "enabled_plugins: [policies, wan_local]"


@dataclass
class Gateway:
    """A `reelgate serve` of its own process group, its key kept from the first start."""

    data_dir: Path
    key: str = ""
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway.cli.main", "serve", "--json", "--port", "0"]
        command += ["--data-dir", str(self.data_dir)]
        log = (self.data_dir / "serve.log").open("a")
        with log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        greeting = json.loads(self.process.stdout.readline())
        self.url, self.key = greeting["url"], greeting["key"] or self.key

    def kill(self, pid: int | None = None) -> None:
        """kill -9 of the whole gateway (its workers die with it), or of one process of it."""
        assert self.process is not None
        os.kill(pid or self.process.pid, signal.SIGKILL)
        if pid is None:
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def workers(self) -> list[int]:
        assert self.process is not None
        file = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in (tasks if file.exists() else []) for pid in task.read_text().split()]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)


@dataclass
class Caller:
    """Creates videos; a create without an answer is repeated with its key until there is one."""

    gateway: Gateway
    accepted: dict[str, str] = field(default_factory=dict)
    open: dict[str, dict[str, Any]] = field(default_factory=dict)

    def send_open(self) -> None:
        for key, body in list(self.open.items()):
            headers = {"authorization": f"Bearer {self.gateway.key}", "idempotency-key": key}
            try:
                reply = httpx.post(f"{self.gateway.url}/v1/videos", json=body, headers=headers, timeout=10)
            except httpx.TransportError:
                return
            if reply.status_code == 200:
                self.accepted[key] = reply.json()["id"]
                del self.open[key]


def _bodies(dice: random.Random) -> Iterator[dict[str, Any]]:
    for _ in range(JOBS_A_ROUND - 1):
        latency = dice.randrange(100, 2_000)
        yield {
            "prompt": "echo",
            "model": "echo",
            "size": "64x64",
            "options": {"echo": {"latency_ms": latency}},
        }
    latency = dice.randrange(100, 4_000)
    yield {"prompt": "remote", "model": "echo-remote", "options": {"echo_remote": {"latency_ms": latency}}}


@contextmanager
def _gateway(data_dir: Path, config: str) -> Iterator[Gateway]:
    data_dir.mkdir()
    (data_dir / "config.yaml").write_text(config)
    gateway = Gateway(data_dir)
    try:
        yield gateway
    finally:
        if gateway.process is not None:
            gateway.process.kill()
            gateway.process.wait()
            assert gateway.process.stdout is not None
            gateway.process.stdout.close()


@pytest.mark.timeout(300)
def test_ten_kills_lose_nothing_and_charge_nothing_twice(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    with _gateway(tmp_path / "data", TWO_SLOTS) as gateway:
        caller = Caller(gateway)
        workers_killed = _ten_kills(gateway, caller, dice)
        gateway.start()
        caller.send_open()
        assert not caller.open
        _wait_until_settled(gateway.data_dir)
        gateway.stop()
        _check(gateway.data_dir, caller, workers_killed)


def _ten_kills(gateway: Gateway, caller: Caller, dice: random.Random) -> int:
    workers_killed = 0
    for round_ in range(KILLS):
        gateway.start()
        caller.open |= {f"{round_}-{number}": body for number, body in enumerate(_bodies(dice))}
        sending = threading.Thread(target=caller.send_open)
        sending.start()
        time.sleep(dice.uniform(0.0, 4.0))  # the random moment is what is tested
        workers = gateway.workers()
        if workers and dice.random() < 0.3:
            gateway.kill(dice.choice(workers))
            workers_killed += 1
            time.sleep(dice.uniform(0.0, 2.0))
        gateway.kill()
        sending.join()
    return workers_killed


def _wait_until_settled(data_dir: Path) -> None:
    """Until every video is finished, but those whose submit was killed before anything was sent: nobody may
    send them again, so they wait for a person until their deadline."""
    db = Database(f"sqlite:///{data_dir / 'reelgate.db'}")
    unfinished = (
        sa.select(attempts.c.id, attempts.c.state)
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(videos.c.status.in_(("queued", "in_progress")))
    )
    until = time.monotonic() + SETTLED_WITHIN_S
    left = ["unknown"]
    while left and time.monotonic() < until:
        with db.read() as connection:
            rows = connection.execute(unfinished).all()
        sent = _submits(data_dir)
        left = [f"{row.id} {row.state}" for row in rows if not _never_sent(row, sent)]
        time.sleep(0.2)
    db.close()
    assert left == [], f"these were not finished {SETTLED_WITHIN_S} s after the last start"


def _submits(data_dir: Path) -> Counter[str]:
    """How often the provider says that it was asked, by tag."""
    bill = data_dir / "echo" / "bill.jsonl"
    lines = map(json.loads, bill.read_text().splitlines() if bill.exists() else ())
    return Counter(line["tag"] for line in lines if line["event"] == "submit")


def _never_sent(attempt: sa.Row[Any], sent: Counter[str]) -> bool:
    """Killed between the claim and the call."""
    return attempt.state == "outcome_unknown" and not sent[attempt.id]


def _check(data_dir: Path, caller: Caller, workers_killed: int) -> None:
    db, store = Database(f"sqlite:///{data_dir / 'reelgate.db'}"), Store(data_dir / "store")
    with db.read() as connection:
        rows = {row.id: row for row in connection.execute(sa.select(videos))}
        charges = Counter(
            row.video_id
            for row in connection.execute(sa.select(ledger_entries).where(ledger_entries.c.kind == "charge"))
        )
        tries = connection.execute(sa.select(attempts)).all()
        clips = sa.select(artefacts).where(artefacts.c.variant == "video")
        stored = {row.video_id: row.key for row in connection.execute(clips)}
        problems = verify_ledger(connection)
    db.close()
    submits = _submits(data_dir)
    unsent = {attempt.video_id for attempt in tries if _never_sent(attempt, submits)}
    lost = [video_id for video_id in caller.accepted.values() if video_id not in rows]
    twice = [video_id for video_id, count in charges.items() if count > 1]
    doubled = [tag for tag, count in submits.items() if count > 1]
    finished = [row for row in rows.values() if row.id not in unsent]
    ends = Counter(f"{row.status} {row.error_code or ''}".strip() for row in finished)
    interrupted = sum(row.fence > 1 for row in tries)
    print(
        f"kills {KILLS} + {workers_killed} of a worker alone, jobs {len(rows)}, ends {dict(ends)},"
        f" never sent and left to a person {len(unsent)},"
        f" interrupted and run again {interrupted}, lost {len(lost)}, charged twice {len(twice)},"
        f" submitted twice {len(doubled)}, unbalanced {len(problems)}"
    )
    assert len(caller.accepted) == KILLS * JOBS_A_ROUND
    assert (lost, twice, doubled, problems) == ([], [], [], [])
    assert len(rows) == len(set(caller.accepted.values())), "a create without an answer was made twice"
    assert set(ends) == {"completed"}, "every job that was sent, or can be, must finish"
    assert {rows[video_id].status for video_id in unsent} <= {"in_progress"}
    for attempt in (attempt for attempt in tries if attempt.video_id not in unsent):
        assert decode(store.as_file(stored[attempt.video_id], data_dir)[0]).frames > 0, attempt.video_id


@pytest.mark.timeout(180)
def test_a_wan_generation_killed_in_its_middle_finishes_after_the_restart(tmp_path: Path) -> None:
    body = {
        "prompt": "a long one",
        "model": "wan-2.2-t2v-a14b-tiny",
        "seconds": "5",
        "fps": 30,
        "size": "128x128",
    }
    with _gateway(tmp_path / "data", ONE_WAN_SLOT) as gateway:
        gateway.start()
        caller = Caller(gateway, open={"the-only": body})
        caller.send_open()
        video_id = caller.accepted["the-only"]
        db = Database(f"sqlite:///{gateway.data_dir / 'reelgate.db'}")
        state = _await_progress(db, video_id)
        gateway.kill()
        assert state == ("running", 1)
        gateway.start()
        _wait_until_settled(gateway.data_dir)
        gateway.stop()
        with db.read() as connection:
            row = connection.execute(sa.select(videos)).one()
            attempt = connection.execute(sa.select(attempts)).one()
            assert verify_ledger(connection) == []
        db.close()
    assert (row.status, row.charge_micro_usd > 0) == ("completed", True)
    assert (attempt.fence, attempt.deaths) == (2, 0), "claimed once more, and the job is not to blame"


def _await_progress(db: Database, video_id: str) -> tuple[str, int]:
    """Wait until the render has made some progress; its state, and how often it was claimed."""
    until = time.monotonic() + 60
    query = sa.select(videos.c.progress, attempts.c.state, attempts.c.fence).join(
        attempts, attempts.c.video_id == videos.c.id
    )
    while time.monotonic() < until:
        with db.read() as connection:
            row = connection.execute(query.where(videos.c.id == video_id)).one()
        assert row.state in ("planned", "running"), row
        if row.progress > 0:
            return row.state, row.fence
        time.sleep(0.02)
    raise AssertionError("the render did not start")
