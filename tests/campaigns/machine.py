"""What is asked of the operating system: ports, processes and what they hold."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXECUTOR = re.compile(r"/(ex-[0-9a-f]+)\.lock")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def temporary_folder(prefix: str, *, keep: bool) -> Iterator[Path]:
    """A folder that other accounts can pass through; removed in the end, or kept and named."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def family(pid: int) -> list[int]:
    """A living process and all that descend from it, the eldest first; empty if it is gone."""
    if state(pid) in ("", "Z", "X"):
        return []
    children = [int(child) for file in _children(pid) for child in file]
    return [pid, *(one for child in children for one in family(child))]


def _children(pid: int) -> list[list[str]]:
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.append(file.read_text().split())
        except OSError:
            continue  # the thread ended meanwhile
    return found


def state(pid: int) -> str:
    """The kernel's letter for a process (R, S, D, T stopped, Z); empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def executor_of(pid: int) -> str | None:
    """The executor whose lock file this process holds open."""
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            try:
                found = EXECUTOR.search(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            except OSError:
                continue
            if found:
                return found[1]
    except OSError:
        return None
    return None
