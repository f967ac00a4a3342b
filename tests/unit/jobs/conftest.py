"""Waiting with a bound, and processes of a test's own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

Spawn = Callable[..., subprocess.Popen[str]]


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    tick, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        tick.wait(0.01)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Runs Python code, with arguments, in a process that is killed when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, args)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
