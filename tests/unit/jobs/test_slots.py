"""A device slot's worker: started again when it dies, ended with its keeper, and told nothing in public."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.jobs import slots
from gateway.jobs.locks import dead_processes
from gateway.jobs.slots import SlotProcess, devices_of
from gateway.settings import Settings, load_settings
from gateway.spec import Device

from .conftest import Spawn, until

SLOT = Device(pool="cpu", slot=0, kind="cpu")

STAND_IN = """#!/bin/sh
cd "{folder}"
read -r task
printf '%s\\n' "$*" "$task" > "$$.part" && mv "$$.part" "$$.up"
exec cat > /dev/null
"""
"""Says what it was started with, then lives until it is killed or its input ends."""

KEEPER = """
import sys
import threading
from pathlib import Path
from gateway.jobs import slots
from gateway.settings import load_settings
from gateway.spec import Device
slots.RESTART_AFTER_S = 0.05
settings = load_settings(
    Path(sys.argv[1]), database_url=sys.argv[2], enabled_plugins=("echo", "policies")
)
slot = slots.SlotProcess(settings, Device(pool="cpu", slot=0, kind="cpu"), "keeper")
slot.start()
tick, seen = threading.Event(), None
for _ in range(12_000):
    if slot.pid not in (None, seen):
        seen = slot.pid
        print(seen, flush=True)
    tick.wait(0.01)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        tmp_path / "data",
        key_pepper="s3cret-pepper",
        plugins={"echo": {"api_key": "s3cret-key"}},
        database_url="postgresql+psycopg://gateway:s3cret-password@db.internal/reelgate",
    )


class Workers:
    """What the stand-ins said of themselves, in the order of their starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def said(self) -> list[list[str]]:
        up = sorted(self._folder.glob("*.up"), key=lambda file: file.stat().st_mtime_ns)
        return [file.read_text().splitlines() for file in up]


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """A shell script in the place of Python, so that starts are quick."""
    folder = tmp_path / "workers"
    folder.mkdir()
    script = tmp_path / "worker.sh"
    script.write_text(STAND_IN.format(folder=folder))
    script.chmod(0o700)
    monkeypatch.setattr(slots, "sys", SimpleNamespace(executable=str(script)))
    monkeypatch.setattr(slots, "RESTART_AFTER_S", 0.01)
    return Workers(folder)


@pytest.fixture
def slot(settings: Settings) -> Iterator[SlotProcess]:
    made = SlotProcess(settings, SLOT, "supervisor-1")
    yield made
    if made.pid is not None:
        os.kill(made.pid, signal.SIGKILL)


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_every_device_of_every_pool_is_a_slot(tmp_path: Path) -> None:
    pools = {"gpu": {"devices": ["cuda:0", "cuda:1"]}, "cpu": {"devices": ["cpu"]}}
    assert devices_of(load_settings(tmp_path, pools=pools)) == [
        Device(pool="gpu", slot=0, kind="cuda:0"),
        Device(pool="gpu", slot=1, kind="cuda:1"),
        Device(pool="cpu", slot=0, kind="cpu"),
    ]


def test_the_settings_come_by_stdin_and_the_arguments_tell_nothing(
    workers: Workers, slot: SlotProcess, settings: Settings
) -> None:
    slot.start()
    until(workers.said)
    slot.stop()
    ((arguments, task),) = workers.said()
    assert arguments == "-m gateway.jobs.worker"
    handed = json.loads(task)
    assert (handed["supervisor"], handed["device"]) == ("supervisor-1", SLOT.model_dump())
    taken = Settings.model_validate(handed["settings"])
    assert taken == settings.model_copy(update={"key_pepper": None})


def test_a_worker_checks_no_key_and_is_not_handed_the_pepper(workers: Workers, slot: SlotProcess) -> None:
    slot.start()
    until(workers.said)
    slot.stop()
    assert "s3cret-pepper" not in str(workers.said())


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_is_started_again(
    workers: Workers, slot: SlotProcess, kill: signal.Signals
) -> None:
    slot.start()
    until(workers.said)
    first = slot.pid
    assert first is not None
    os.kill(first, kill)
    until(lambda: len(workers.said()) == 2)
    assert slot.pid not in (None, first)
    slot.stop()


def test_stop_ends_the_worker_and_its_keeping(workers: Workers, slot: SlotProcess) -> None:
    before = set(threading.enumerate())
    slot.start()
    until(workers.said)
    pid = slot.pid
    assert pid is not None
    slot.stop()
    assert slot.pid is None
    assert _gone(pid)
    assert set(threading.enumerate()) == before
    assert len(workers.said()) == 1


def _late_popen(monkeypatch: pytest.MonkeyPatch, then: Callable[[subprocess.Popen[str]], None]) -> None:
    """Let something happen between the start of a process and its being known."""

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(*arguments, **options)
        then(process)
        return process

    stand_in = SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(slots, "subprocess", stand_in)


def test_stop_at_the_moment_of_a_start_ends_that_worker_too(
    workers: Workers, slot: SlotProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def linger(process: subprocess.Popen[str]) -> None:
        started.set()
        assert go_on.wait(10)

    _late_popen(monkeypatch, linger)
    slot.start()
    assert started.wait(10)
    stopper = threading.Thread(target=slot.stop, daemon=True)
    stopper.start()
    until(slot._stopping.is_set)
    go_on.set()
    stopper.join(timeout=5)
    assert not stopper.is_alive()
    assert slot.pid is None


def test_a_worker_that_ends_before_it_has_its_settings_is_started_again(
    workers: Workers, slot: SlotProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []

    def end_the_first(process: subprocess.Popen[str]) -> None:
        starts.append(process.pid)
        if len(starts) == 1:
            process.kill()
            process.wait()

    _late_popen(monkeypatch, end_the_first)
    slot.start()
    until(workers.said)
    slot.stop()
    assert len(starts) == 2


def test_a_real_worker_is_recovered_by_its_successor_and_ends_with_its_parent(
    spawn: Spawn, tmp_path: Path, database_url: str
) -> None:
    run_dir = tmp_path / "run"

    def living() -> list[Path]:
        """The lock files of the workers that hold theirs."""
        dead = set()
        for lock in dead_processes(run_dir):
            with lock:
                dead.add(f"{lock.name}.lock")
        return [path for path in run_dir.glob("ex-*.lock") if path.name not in dead]

    keeper = spawn(KEEPER, tmp_path, database_url)
    assert keeper.stdout is not None
    worker = int(keeper.stdout.readline())
    until(living)
    (first,) = living()
    os.kill(worker, signal.SIGKILL)
    successor = int(keeper.stdout.readline())
    try:
        until(lambda: living() not in ([], [first]))
        until(lambda: not first.exists())  # the second has looked after what the first left
        assert not (tmp_path / "secrets").exists(), "a worker makes no pepper"
        keeper.kill()
        until(lambda: not living())
    finally:
        if not _gone(successor):
            os.kill(successor, signal.SIGKILL)
