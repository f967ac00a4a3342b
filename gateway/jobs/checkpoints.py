"""Checkpoints: states of a render in the store, named on its attempt, from which a later run goes on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from gateway.db import CommitUnknown, now
from gateway.db.tables import attempts
from gateway.jobs.attempts import Claim, change
from gateway.jobs.resources import Resources
from gateway.media import Stored, StoreError

PREFIX = "checkpoints"
KEPT = 2
"""How many of an attempt: the newest, and the one before, should that turn out to be damaged."""

log = logging.getLogger(__name__)


def keep(resources: Resources, video_id: str, claim: Claim, number: int, data: bytes) -> bool:
    """Keep a state as the newest of the attempt; False if the claim is lost, and nothing was kept.

    With a new checkpoint the deaths of earlier workers count no more: the render gets on.

    Raises:
        StoreError: it could not be stored.  sqlalchemy.exc.SQLAlchemyError: it could not be recorded.
    """
    stored = resources.store.put(f"{PREFIX}/{video_id}/{claim.attempt_id}-{claim.fence}-{number}", data)
    try:
        outdated = _record(resources, claim, stored)
    except CommitUnknown:
        raise  # the row may name it
    except sa.exc.SQLAlchemyError:
        _delete(resources, stored.key)
        raise
    for key in outdated:
        _delete(resources, key)
    return stored.key not in outdated


def _record(resources: Resources, claim: Claim, stored: Stored) -> list[str]:
    """Name it on the attempt; returns the keys of what is not wanted any more."""
    mine = sa.select(attempts.c.checkpoints).where(attempts.c.id == claim.attempt_id)
    entry = {
        "key": stored.key,
        "sha256": stored.sha256,
        "bytes": stored.bytes,
        "at": now().isoformat(timespec="milliseconds"),
    }
    with resources.db.write() as connection:
        named = [entry, *(connection.execute(mine).scalar_one() or ())]
        recorded = change(
            connection,
            claim.attempt_id,
            expect=("running",),
            under=claim.fence,
            checkpoints=named[:KEPT],
            deaths=0,
        )
    return [old["key"] for old in named[KEPT:]] if recorded else [stored.key]


def whole(resources: Resources, row: sa.Row[Any]) -> Iterator[bytes]:
    """The states that an attempt's row names, newest first; one that is lost or damaged is passed over."""
    for entry in row.checkpoints or ():
        try:
            data = resources.store.read(entry["key"])
        except StoreError as error:
            log.warning("attempt %s: a checkpoint cannot be read: %s", row.id, error.operator_detail)
            continue
        if hashlib.sha256(data).hexdigest() == entry["sha256"]:
            yield data
        else:
            log.warning("attempt %s: the checkpoint %s is damaged", row.id, entry["key"])


def newest(row: sa.Row[Any]) -> dict[str, Any] | None:
    """The key, sha256, bytes and time of an attempt's newest checkpoint; None if it has none."""
    return row.checkpoints[0] if row.checkpoints else None


def drop(resources: Resources, row: sa.Row[Any], keep: str | None = None) -> None:
    """Delete the checkpoints of an attempt whose books are closed, but for the one under the key ``keep``.

    Also those that a worker stored and could not name any more. What cannot be deleted is swept later.
    """
    if not row.checkpoints:
        return
    folder = f"{PREFIX}/{row.video_id}"
    try:
        found = [entry.key for entry in resources.store.keys(folder)]
    except StoreError as error:
        log.warning("attempt %s: its checkpoints are left to the sweep: %s", row.id, error.operator_detail)
        return
    for key in found:
        if key.startswith(f"{folder}/{row.id}-") and key != keep:
            _delete(resources, key)


def _delete(resources: Resources, key: str) -> None:
    try:
        resources.store.delete(key)
    except StoreError as error:
        log.warning("the checkpoint %s is left to the sweep: %s", key, error.operator_detail)
