"""Where objects lie: what the store asks of a folder and of a bucket alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Stored:
    """What the store now holds: ``sha256`` in hex, ``bytes`` the length."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Entry:
    """An object as a listing shows it: ``bytes`` is its length, ``modified_at`` (UTC) when it was put."""

    key: str
    bytes: int
    modified_at: datetime


class Shelf(Protocol):
    """One kind of storage. Keys are sound when they come here; every call but ``stream`` blocks.

    Raises (all of them):
        Missing: nothing is there.  StoreFull, StoreError: the storage could not.
    """

    def create(self, key: str, source: Path | bytes) -> tuple[Stored, bool]:
        """Put the whole of ``source`` there, or nothing; False beside it if the key held something before."""

    def read(self, key: str) -> bytes:
        """All bytes of what is there."""

    def describe(self, key: str) -> Stored:
        """Hash what is there."""

    def stat(self, key: str) -> Entry:
        """What is there, without reading it."""

    def as_file(self, key: str, folder: Path) -> tuple[Path, Stored]:
        """The object as a local file to be read only; where that takes a copy, it lies in ``folder``."""

    def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``end``, at most 1 MiB at a time."""

    def delete(self, key: str) -> bool:
        """Remove it; False if there was none."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Every object below a folder of keys, also temporary ones; all for ''."""

    def sweep_temp(self, older_than_s: float) -> int:
        """Remove what writers that died left behind; returns how many."""

    def check(self) -> None:
        """See that the storage can be used."""
