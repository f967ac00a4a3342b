"""Child processes on 127.0.0.1: started, waited for, looked at, and always ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

START_S = 90
STOP_S = 20
TAIL_LINES = 15


class NotStarted(Exception):
    """A server did not come up; the text ends with the end of its log."""


def end_in_order(within_s: int) -> None:
    """See that the script stops what it started when it is told to end, and when it takes too long."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(f"not done after {within_s} s" if number == signal.SIGALRM else "told to end")

    signal.signal(signal.SIGALRM, end)
    signal.signal(signal.SIGTERM, end)
    signal.alarm(within_s)


@contextmanager
def running(
    command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output going to ``log``; it is ended when the block is."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to one that does not heed it."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


def await_line(process: subprocess.Popen[bytes], log: Path, pattern: str) -> re.Match[str]:
    """The first match of ``pattern`` in the log of a starting process.

    Raises:
        NotStarted: it ended, or did not say so in time.
    """
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        found = re.search(pattern, log.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    why = f"was not ready within {START_S} s" if process.poll() is None else f"ended with {process.poll()}"
    raise NotStarted(f"{' '.join(process.args)[:200]} {why}:\n{tail}")  # type: ignore[arg-type]  # a sequence of str


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    pids = [pid]
    for one in pids:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    return pids


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident MB (10^6 bytes) of a process with its descendants; ``VmHWM``: each one's peak."""
    total = 0
    for one in family(pid):
        found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total / 1e6


def forget_peak(pid: int) -> None:
    """Let ``VmHWM`` start again from the present memory (proc(5), clear_refs)."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")
