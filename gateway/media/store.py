"""The object store: clips, pictures and input images by key, each written once and never changed.

Objects lie in a folder of a local disk or in an S3 bucket; callers hold keys and see no difference. An object
that can be seen is whole: it is staged out of sight, its length is compared with what was given, and it takes
its key only if that is free (``_folder`` and ``_bucket`` say how, and what each of them guarantees). The row
that names an object is written after it: an object without a row is an orphan, a row without its object is a
loss. All calls but :meth:`Store.stream` block: from a coroutine, use a thread.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Self

from gateway.media._folder import Folder
from gateway.media._shelf import Entry, Shelf, Stored
from gateway.media.errors import BadKey, KeyTaken, Missing
from gateway.settings import Settings

_KEY = re.compile(r"[a-z0-9][a-z0-9/_.-]{0,200}")


class Store:
    """Objects by key. Any number of processes may share one place."""

    def __init__(self, place: Path | Shelf) -> None:
        """A folder, which is made if it is missing, or any other shelf.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._shelf = Folder(place) if isinstance(place, Path) else place

    @classmethod
    def at(cls, url: str, options: Mapping[str, str]) -> Self:
        """The bucket at ``s3://bucket/prefix``; ``options`` are obstore's for S3 and its client.

        Credentials come from the options or from the usual ``AWS_*`` variables, and are shown nowhere.

        Raises:
            SettingsError: another kind of URL, or an unknown option.
        """
        # only who uses a bucket pays the 7 MB that the library takes in memory
        from gateway.media._bucket import Bucket

        return cls(Bucket(url, options))

    def put(self, key: str, source: Path | bytes) -> Stored:
        """Keep a copy of a file, or of these bytes, under ``key``; visible whole or not at all.

        The same bytes again under the same key are fine.

        Raises:
            KeyTaken: other bytes are there.  StoreFull: no space.  StoreError: any other trouble.
        """
        stored, created = self._shelf.create(_sound(key), source)
        if not created and not self._holds(stored):
            raise KeyTaken(
                "the result could not be stored: its place is taken by another file",
                operator_detail=f"{key} holds other bytes than the {stored.bytes} now put there; "
                "neither was changed. Find out which attempt wrote it before deleting it",
            )
        return stored

    def read(self, key: str) -> bytes:
        """All bytes of a small object. Raises Missing."""
        return self._shelf.read(_sound(key))

    def stat(self, key: str) -> Entry:
        """Length and age, without reading it. Raises Missing."""
        return self._shelf.stat(_sound(key))

    def exists(self, key: str) -> bool:
        """True if an object is there."""
        try:
            self.stat(key)
        except Missing:
            return False
        return True

    def as_file(self, key: str, folder: Path) -> tuple[Path, Stored]:
        """The object as a local file, to be read only, and what it holds.

        The object itself where the store is on this disk; else a copy in ``folder``, which is the caller's to
        remove. Raises Missing.
        """
        return self._shelf.as_file(_sound(key), folder)

    def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to ``end``, which must lie within the object, at most 1 MiB at a time.

        Raises (while it is iterated):
            Missing: nothing is there.  StoreError: it ends early, or the storage failed.
        """
        return self._shelf.stream(_sound(key), start, end)

    def delete(self, key: str) -> bool:
        """Remove the object; False if there was none."""
        return self._shelf.delete(_sound(key))

    def keys(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key begins with ``prefix`` and a slash, or every one; in no order.

        What lies there under a name that is no key was not put there by the gateway, and is passed over.
        """
        found = self._shelf.entries(_sound(prefix) if prefix else "")
        return (entry for entry in found if _is_sound(entry.key))

    def sweep_temp(self, older_than_s: float) -> int:
        """Remove what writers that died left behind; returns how many objects."""
        return self._shelf.sweep_temp(older_than_s)

    def check(self) -> None:
        """See that the place can be used: a folder is written to, a bucket asked for a listing.

        Raises:
            StoreError: it cannot, and why.
        """
        self._shelf.check()

    def _holds(self, stored: Stored) -> bool:
        try:
            return self._shelf.describe(stored.key) == stored
        except Missing:  # a folder of that name, or deleted meanwhile
            return False


def open_store(settings: Settings) -> Store:
    """The store that the settings name: ``store_url``, else the folder ``store`` of the data folder.

    Raises:
        SettingsError: ``store_url`` or ``store_options`` cannot be used.  StoreError: the folder cannot be
            written.
    """
    if not settings.store_url:
        return Store(settings.store_dir)
    options = {name: value.get_secret_value() for name, value in settings.store_options.items()}
    return Store.at(settings.store_url, options)


def _sound(key: str) -> str:
    if not _is_sound(key):
        raise BadKey(f"{key!r} is no store key: use lower-case ids joined by single slashes")
    return key


def _is_sound(key: str) -> bool:
    return bool(_KEY.fullmatch(key)) and ".." not in key and all(name.strip(".") for name in key.split("/"))
