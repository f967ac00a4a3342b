"""A rolling restart under load: no request fails after one retry, and every job is finished, once."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
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
from gateway.db.tables import ledger_entries, videos
from gateway.ledger.verify import verify_ledger
from tests._databases import Databases

CONFIG = """
enabled_plugins: [echo, policies]
pools: {cpu: {devices: [cpu, cpu], hourly_usd: "0.10"}}
drain_notice_s: 1
drain_s: 20
"""


@dataclass
class Process:
    """One process of the gateway, started again on demand; ``url`` if it answers the API."""

    command: list[str]
    data_dir: Path
    name: str
    url: str = ""
    key: str | None = None
    running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        arguments = [sys.executable, "-m", "gateway.cli.main", *self.command, "--json", "--data-dir"]
        with (self.data_dir / f"{self.name}.log").open("a") as log:
            self.running = subprocess.Popen(
                [*arguments, str(self.data_dir)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.running.stdout is not None
        greeting = json.loads(self.running.stdout.readline())
        self.url, self.key = greeting.get("url", ""), greeting.get("key") or self.key

    def ask_to_end(self) -> None:
        assert self.running is not None
        self.running.send_signal(signal.SIGTERM)

    def end(self) -> int:
        assert self.running is not None
        assert self.running.stdout is not None
        code = self.running.wait(timeout=60)
        self.running.stdout.close()
        return code


@dataclass
class Load:
    """A client that turns to the other replica when one fails, once, with the same Idempotency-Key."""

    replicas: list[Process]
    key: str
    accepted: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    retries: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(timeout=20, headers={"authorization": f"Bearer {self.key}"}) as client:
            for turn in itertools.count():
                if self._stop.wait(0.02):
                    return
                self._request(client, turn)

    def stop(self) -> None:
        self._stop.set()

    def _request(self, client: httpx.Client, turn: int) -> None:
        if turn % 4:
            path = f"/v1/videos/{self.accepted[turn % len(self.accepted)]}" if self.accepted else "/livez"
            self._twice(client, turn, "GET", path)
            return
        body = {"prompt": "x", "model": ("echo", "echo-remote")[turn // 4 % 2], "size": "64x64"}
        reply = self._twice(
            client, turn, "POST", "/v1/videos", json=body, headers={"idempotency-key": uuid.uuid4().hex}
        )
        if reply is not None:
            self.accepted.append(reply.json()["id"])

    def _twice(self, client: httpx.Client, turn: int, method: str, path: str, **more: Any) -> Any:
        problem = ""
        for replica in (self.replicas[turn % 2], self.replicas[(turn + 1) % 2]):
            try:
                reply = client.request(method, f"{replica.url}{path}", **more)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} on {method} {path}"
            else:
                if reply.status_code == 200:
                    return reply
                problem = f"{reply.status_code} on {method} {path}: {reply.text[:200]}"
            self.retries += 1
        self.failures.append(problem)
        return None


@contextmanager
def _deployment(data_dir: Path, database_url: str) -> Iterator[tuple[list[Process], list[Process]]]:
    data_dir.mkdir()
    (data_dir / "config.yaml").write_text(f"database_url: {database_url}\n{CONFIG}")
    serve = ["serve", "--role", "api", "--port", "0"]
    replicas = [Process(serve, data_dir, f"api{number}") for number in range(2)]
    workers = [Process(["worker", "--slots", f"cpu/{number}"], data_dir, f"w{number}") for number in range(2)]
    try:
        for process in (*replicas, *workers):
            process.start()
        yield replicas, workers
    finally:
        for process in (*replicas, *workers):
            if process.running is not None and process.running.poll() is None:
                process.running.kill()
                process.end()


@pytest.mark.timeout(420)
def test_a_rolling_restart_under_load_fails_no_request_and_loses_no_job(
    tmp_path: Path, postgres: Databases
) -> None:
    with (
        postgres.new() as database_url,
        _deployment(tmp_path / "data", database_url) as (replicas, workers),
    ):
        load = Load(replicas, replicas[0].key or "")
        loading = threading.Thread(target=load.run)
        loading.start()
        notices = []
        try:
            for process in (replicas[0], workers[0], replicas[1], workers[1]):
                process.ask_to_end()
                if process.url:
                    notices.append(_not_ready(process.url))
                assert process.end() == 0
                process.start()
        finally:
            load.stop()
            loading.join()
        _wait_until_finished(database_url)
        print(f"{len(load.accepted)} jobs, {load.retries} retries, failures: {load.failures}")
        assert load.failures == []
        assert notices == [True, True], "/readyz says 503 before the listener closes"
        assert len(load.accepted) > 20
        _check(database_url, load)


def _not_ready(url: str) -> bool:
    """Whether /readyz was seen to say no while the process still answered."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 503:
                return True
        except httpx.TransportError:
            return False
        time.sleep(0.02)
    return False


def _wait_until_finished(database_url: str) -> None:
    db = Database(database_url)
    unfinished = sa.select(sa.func.count()).where(videos.c.status.in_(("queued", "in_progress")))
    until = time.monotonic() + 90
    left = -1
    while left and time.monotonic() < until:
        with db.read() as connection:
            left = connection.execute(unfinished).scalar_one()
        time.sleep(0.1)
    db.close()
    assert left == 0, f"{left} videos were not finished"


def _check(database_url: str, load: Load) -> None:
    db = Database(database_url)
    with db.read() as connection:
        statuses = {row.id: row.status for row in connection.execute(sa.select(videos))}
        kinds = Counter(connection.execute(sa.select(ledger_entries.c.kind)).scalars())
        problems = verify_ledger(connection)
    db.close()
    assert set(load.accepted) == set(statuses), "each create made one video"
    assert set(statuses.values()) == {"completed"}
    assert kinds["charge"] == len(statuses)
    assert problems == []
