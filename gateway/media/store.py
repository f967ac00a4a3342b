"""The object store: clips, pictures and input images by key, each written once and never changed.

A folder on a local disk. Callers hold keys and never a path of their own making, so that a store elsewhere
can take its place; :meth:`Store.path` is for what must be a file, such as a response with byte ranges. All
calls block: from a coroutine, use a thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from gateway.spec import ReelgateError

_KEY = re.compile(r"[a-z0-9][a-z0-9/_.-]{0,200}")
_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}


class StoreError(ReelgateError):
    """The store could not do it; nothing changed."""

    code = "store_failed"


class StoreFull(StoreError):
    """The store's disk, or its quota, is full; nothing was kept."""

    code = "store_full"


class KeyTaken(StoreError):
    """The key holds other bytes already."""

    code = "store_key_taken"


class Missing(StoreError):
    """The store holds nothing under this key."""

    code = "store_missing"


class BadKey(ValueError):
    """A key that the gateway would never make: an error in the code, not in what a caller sent."""


@dataclass(frozen=True)
class Stored:
    """What the store now holds: ``sha256`` in hex, ``bytes`` the length."""

    key: str
    sha256: str
    bytes: int


class Store:
    """Objects under ``root``. Any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        """Create the folders that are missing.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.root = root
        self._temp = root / ".tmp"
        with store_errors(root):
            self._temp.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, source: Path | bytes) -> Stored:
        """Keep a copy of a file, or of these bytes, under ``key``; visible whole or not at all.

        The same bytes again under the same key are fine.

        Raises:
            KeyTaken: other bytes are there.  StoreFull: no space.  StoreError: any other trouble.
        """
        place = self._place(key)
        with store_errors(self.root):
            temp, stored = self._stage(key, source)
            try:
                self._publish(temp, place, stored)
            finally:
                temp.unlink()
        return stored

    def open(self, key: str) -> BinaryIO:
        """Open for reading. Raises Missing."""
        with store_errors(self.root):
            try:
                return self._place(key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise self._missing(key) from None

    def read(self, key: str) -> bytes:
        """All bytes of a small object. Raises Missing."""
        with self.open(key) as file, store_errors(self.root):
            return file.read()

    def path(self, key: str) -> Path:
        """The object as a local file, to be read only. Raises Missing."""
        if not self.exists(key):
            raise self._missing(key)
        return self._place(key)

    def exists(self, key: str) -> bool:
        """True if an object is there."""
        return self._place(key).is_file()

    def delete(self, key: str) -> bool:
        """Remove the object; False if there was none."""
        place = self._place(key)
        with store_errors(self.root):
            try:
                place.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return False
            _sync_folder(place.parent)
        return True

    def sweep_temp(self, older_than_s: float) -> int:
        """Remove what writers that died left behind; returns how many files."""
        swept = 0
        with store_errors(self.root):
            for leftover in self._temp.iterdir():
                try:
                    if time.time() - leftover.stat().st_mtime > older_than_s:
                        leftover.unlink()
                        swept += 1
                except FileNotFoundError:
                    continue  # its writer finished meanwhile
        return swept

    def _place(self, key: str) -> Path:
        names = key.split("/")
        if not _KEY.fullmatch(key) or ".." in key or not all(name.strip(".") for name in names):
            raise BadKey(f"{key!r} is no store key: use lower-case ids joined by single slashes")
        return self.root.joinpath(*names)

    def _missing(self, key: str) -> Missing:
        return Missing(
            "the stored file is gone: it was deleted or has expired, so make the video again",
            operator_detail=f"{key} is not in {self.root}: restore it from a backup if nobody deleted it",
        )

    def _stage(self, key: str, source: Path | bytes) -> tuple[Path, Stored]:
        """Copy into a temporary file beside the objects, on disk when this returns."""
        descriptor, name = tempfile.mkstemp(dir=self._temp)
        temp = Path(name)
        try:
            try:
                with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as reader:
                    expected = len(source) if isinstance(source, bytes) else os.fstat(reader.fileno()).st_size
                    sha256, length = _copy(reader, descriptor)
                os.fsync(descriptor)
                written = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if not expected == length == written:
                raise StoreError(
                    "the file could not be stored whole; nothing was kept, try again",
                    operator_detail=f"{key}: {expected} bytes at first, {length} read, {written} on disk: "
                    "something wrote to the source meanwhile, or the disk loses data",
                )
        except BaseException:
            temp.unlink()
            raise
        return temp, Stored(key, sha256, length)

    def _publish(self, temp: Path, place: Path, stored: Stored) -> None:
        self._make_folder(place.parent)
        try:
            os.link(temp, place)
        except FileExistsError:
            if not place.is_file() or _sha256(place) != stored.sha256:
                raise KeyTaken(
                    "the result could not be stored: its place is taken by another file",
                    operator_detail=f"{stored.key} holds other bytes than the {stored.bytes} now put there; "
                    "neither was changed. Find out which attempt wrote it before deleting it",
                ) from None
        # Also when it was there: the writer before may have died between its link and its sync.
        _sync_folder(place.parent)

    def _make_folder(self, folder: Path) -> None:
        new = [f for f in (folder, *folder.parents) if f.is_relative_to(self.root) and not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in new:
            _sync_folder(made.parent)


@contextmanager
def store_errors(where: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing under ``where`` into StoreFull and StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(
                "the gateway's storage is full: the file was not stored, try again later",
                operator_detail=f"no space for files in {where} ({error.strerror}): "
                "delete videos, enlarge the disk or raise the quota",
            ) from error
        raise StoreError(
            "the gateway's storage failed: nothing was changed, try again later",
            operator_detail=f"storage in {where} failed: {error}. Check that the folder is there, writable, "
            "and on a file system with hard links",
        ) from error


def _copy(reader: BinaryIO, descriptor: int) -> tuple[str, int]:
    """Copy to the end; returns the sha256 in hex and the length."""
    digest, length = hashlib.sha256(), 0
    while chunk := reader.read(_CHUNK):
        digest.update(chunk)
        length += len(chunk)
        left = memoryview(chunk)
        while left:
            left = left[os.write(descriptor, left) :]
    return digest.hexdigest(), length


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
