"""Objects as files of a local folder.

obstore could serve folders too, but its local store never syncs (version 0.12.1 under strace: open, write,
rename, no fsync), so that a power cut could take a file whose row is committed. Hence this one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import anyio

from gateway.media._shelf import Entry, Stored
from gateway.media.errors import Missing, missing, not_whole, store_errors

_CHUNK = 1 << 20
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Folder:
    """A shelf: the file system's own names, hard links and fsync. Any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temp = root / ".tmp"
        with store_errors(root):
            self._temp.mkdir(parents=True, exist_ok=True)

    def create(self, key: str, source: Path | bytes) -> tuple[Stored, bool]:
        """A synced temporary file, linked to its place: a link to a name that exists fails."""
        with store_errors(self.root):
            temp, stored = self._stage(key, source)
            try:
                return stored, self._publish(temp, self._place(key))
            finally:
                temp.unlink()

    def read(self, key: str) -> bytes:
        """The whole file."""
        with self._reading(key) as file:
            return file.read()

    def describe(self, key: str) -> Stored:
        """Read once through the file."""
        with self._reading(key) as file:
            return Stored(key, hashlib.file_digest(file, "sha256").hexdigest(), file.tell())

    def stat(self, key: str) -> Entry:
        """The file's own facts."""
        with store_errors(self.root):
            try:
                found = self._place(key).stat()
            except _ABSENT:
                raise missing(key, self.root) from None
        if not S_ISREG(found.st_mode):
            raise missing(key, self.root)
        return Entry(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def as_file(self, key: str, folder: Path) -> tuple[Path, Stored]:
        """The object itself."""
        return self._place(key), self.describe(key)

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """1 MiB at a time, each read in a thread."""
        with store_errors(self.root):
            try:
                file = await anyio.open_file(self._place(key), "rb", buffering=0)
            except _ABSENT:
                raise missing(key, self.root) from None
            async with aclosing(file):
                await file.seek(start)
                while start < end:
                    chunk = await file.read(min(_CHUNK, end - start))
                    if not chunk:
                        raise not_whole(key, f"it ends at byte {start}, not {end}")
                    start += len(chunk)
                    yield chunk

    def delete(self, key: str) -> bool:
        """Gone for good when this returns."""
        place = self._place(key)
        with store_errors(self.root):
            try:
                place.unlink()
            except _ABSENT:
                return False
            _sync_folder(place.parent)
        return True

    def entries(self, prefix: str) -> Iterator[Entry]:
        """A walk over the folders."""
        with store_errors(self.root):
            for folder, _, names in os.walk(self.root / prefix):
                for name in names:
                    file = Path(folder, name)
                    try:
                        yield self.stat(str(file.relative_to(self.root)))
                    except Missing:
                        continue  # deleted meanwhile

    def sweep_temp(self, older_than_s: float) -> int:
        """By the age of the temporary files."""
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

    def check(self) -> None:
        """Write a little."""
        with store_errors(self.root), tempfile.TemporaryFile(dir=self._temp) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()

    def _place(self, key: str) -> Path:
        return self.root.joinpath(*key.split("/"))

    @contextmanager
    def _reading(self, key: str) -> Iterator[BufferedReader]:
        with store_errors(self.root):
            try:
                file = self._place(key).open("rb")
            except _ABSENT:
                raise missing(key, self.root) from None
            with file:
                yield file

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
                raise not_whole(key, f"{expected} bytes at first, {length} read, {written} on disk")
        except BaseException:
            temp.unlink()
            raise
        return temp, Stored(key, sha256, length)

    def _publish(self, temp: Path, place: Path) -> bool:
        self._make_folder(place.parent)
        try:
            os.link(temp, place)
            created = True
        except FileExistsError:
            created = False
        # Also when it was there: the writer before may have died between its link and its sync.
        _sync_folder(place.parent)
        return created

    def _make_folder(self, folder: Path) -> None:
        new = [f for f in (folder, *folder.parents) if f.is_relative_to(self.root) and not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in new:
            _sync_folder(made.parent)


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


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
