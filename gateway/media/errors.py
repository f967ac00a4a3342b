"""What can go wrong with stored files."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.spec import ReelgateError

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


def missing(key: str, where: object) -> Missing:
    """The same words for every kind of store."""
    return Missing(
        "the stored file is gone: it was deleted or has expired, so make the video again",
        operator_detail=f"{key} is not in {where}: restore it from a backup if nobody deleted it",
    )


def not_whole(key: str, detail: str) -> StoreError:
    """What was written is not what was given."""
    return StoreError(
        "the file could not be stored whole; nothing was kept, try again",
        operator_detail=f"{key}: {detail}: something wrote to the source meanwhile, or the storage "
        "loses data",
    )


def of_full_disk(error: BaseException | None) -> bool:
    """True if this, or what caused it, is the operating system's word that there is no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


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
