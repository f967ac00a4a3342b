"""Which processes of this gateway are alive, told by OS file locks.

Every process holds an exclusive lock on a file named for its executor id. The kernel drops it when the
process ends, however it ends, so a slow writer never makes a living worker look dead. One machine only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

SUFFIX = ".lock"

_DEAD = b"dead\n"  # in the file of a process that another has seen to be gone


class ProcessLock:
    """A held lock file; as a context manager it releases at the end."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.name = path.name.removesuffix(SUFFIX)

    @classmethod
    def take(cls, folder: Path, name: str) -> ProcessLock:
        """Create and lock the file of ``name``, which no process had before.

        It is locked before it has the name that others look for: none can take it for a dead one's.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{SUFFIX}"
        fresh = folder / f".{name}{SUFFIX}"
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(path)
        return cls(path, descriptor)

    @classmethod
    def only(cls, folder: Path, name: str) -> ProcessLock:
        """Lock the file of ``name``, which any process may have had before.

        Raises:
            BlockingIOError: a living process has it now.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def forget(self) -> None:
        """Remove the file and the process's scratch folder: nothing of it is left to recover."""
        shutil.rmtree(scratch_of(self._path.parent, self.name), ignore_errors=True)
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the lock; the file stays, for others to see that this process is gone."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def scratch_of(folder: Path, name: str) -> Path:
    """The scratch folder of a process."""
    return folder / f"{name}.d"


def names(folder: Path) -> set[str]:
    """The executor ids of all lock files, held or not."""
    return {path.name.removesuffix(SUFFIX) for path in folder.glob(f"ex-*{SUFFIX}")}


def held(folder: Path, name: str) -> bool | None:
    """Whether a living process holds the lock of ``name``; None if there is no such file."""
    try:
        descriptor = os.open(folder / f"{name}{SUFFIX}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fstat(descriptor).st_size == 0  # else by another, which recovers a dead one's work
    finally:
        os.close(descriptor)
    return False


def dead_processes(folder: Path) -> Iterator[ProcessLock]:
    """The lock of each process that is gone, held so that no other process recovers its work too."""
    for path in sorted(folder.glob(f"ex-*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process has just finished with it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_nlink == 0:  # another finished with it and removed it since we opened it
            os.close(descriptor)
            continue
        os.write(descriptor, _DEAD)
        yield ProcessLock(path, descriptor)
