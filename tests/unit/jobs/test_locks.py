"""Which processes are alive: told by the kernel, found once, forgotten when nothing is left of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.locks import ProcessLock, dead_processes

from .conftest import Spawn

HOLD = """
import sys
from pathlib import Path
from gateway.jobs.locks import ProcessLock
held = ProcessLock.take(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""

FIND = """
import sys
from pathlib import Path
from gateway.jobs.locks import dead_processes
print("ready", flush=True)
sys.stdin.readline()
found = list(dead_processes(Path(sys.argv[1])))
print(",".join(dead.name for dead in found), flush=True)
sys.stdin.read()
"""


def _dead(folder: Path) -> list[str]:
    """The names of those that are gone; each is let go at once."""
    names = []
    for dead in dead_processes(folder):
        with dead:
            names.append(dead.name)
    return names


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _holder(spawn: Spawn, folder: Path, name: str) -> subprocess.Popen[str]:
    process = spawn(HOLD, folder, name)
    assert _line(process) == "held"
    return process


def test_a_living_process_is_not_dead_and_a_killed_one_is(spawn: Spawn, tmp_path: Path) -> None:
    victim, other = _holder(spawn, tmp_path, "ex-victim"), _holder(spawn, tmp_path, "ex-other")
    assert _dead(tmp_path) == []
    victim.kill()
    victim.wait()
    assert _dead(tmp_path) == ["ex-victim"]
    assert other.poll() is None


def test_two_finders_cannot_both_take_it(spawn: Spawn, tmp_path: Path) -> None:
    ProcessLock.take(tmp_path, "ex-gone").release()
    finders = [spawn(FIND, tmp_path) for _ in range(2)]
    for finder in finders:
        assert _line(finder) == "ready"
    for finder in finders:
        assert finder.stdin is not None
        finder.stdin.write("go\n")
        finder.stdin.flush()
    assert sorted(_line(finder) for finder in finders) == ["", "ex-gone"]


def test_what_a_finder_does_not_forget_is_found_again(tmp_path: Path) -> None:
    ProcessLock.take(tmp_path, "ex-gone").release()
    assert _dead(tmp_path) == ["ex-gone"]
    assert _dead(tmp_path) == ["ex-gone"], "its recovery may have failed"


def test_what_is_forgotten_is_not_found_again(tmp_path: Path) -> None:
    ProcessLock.take(tmp_path, "ex-gone").release()
    for dead in dead_processes(tmp_path):
        with dead:
            dead.forget()
            dead.forget()
    assert _dead(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_another_forgot_meanwhile_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another finder may end its work between this one's opening of the file and its locking it."""
    gone = ProcessLock.take(tmp_path, "ex-gone")
    real = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        gone.forget()
        gone.release()
        real(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        assert _dead(tmp_path) == []


def test_a_process_is_never_taken_for_dead_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finder may look between the making of the file and its being locked."""
    real, seen = fcntl.flock, list[str]()

    def late(descriptor: int, operation: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", real)
            for dead in dead_processes(tmp_path):
                with dead:
                    seen.append(dead.name)
                    dead.forget()
        real(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        held = ProcessLock.take(tmp_path, "ex-new")
    assert seen == []
    assert _dead(tmp_path) == []
    held.release()
    assert _dead(tmp_path) == ["ex-new"]


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "settle-1").mkdir()
    (tmp_path / "notes.lock").touch()
    assert _dead(tmp_path) == []
    assert _dead(tmp_path / "none") == []


def test_the_lock_is_not_inherited_by_a_child(spawn: Spawn, tmp_path: Path) -> None:
    lock = ProcessLock.take(tmp_path, "ex-parent")
    child = spawn("import sys; print('up', flush=True); sys.stdin.read()")
    assert _line(child) == "up"
    lock.release()
    assert _dead(tmp_path) == ["ex-parent"]


def test_a_lock_file_is_its_owners_alone(tmp_path: Path) -> None:
    with ProcessLock.take(tmp_path / "run", "ex-me"):
        (file,) = (tmp_path / "run").iterdir()
        mode: Any = os.stat(file).st_mode & 0o777
        assert (file.name, mode) == ("ex-me.lock", 0o600)
