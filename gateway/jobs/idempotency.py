"""A caller's key for a request: sent twice, it makes one video, and the first reply is kept for a day."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from gateway.db import Database, now
from gateway.db.keys import Caller
from gateway.db.tables import idempotency_keys
from gateway.jobs.errors import IdempotencyInFlight, IdempotencyMismatch

IDEMPOTENCY_WINDOW = timedelta(hours=24)

Reply = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Idempotency:
    """A caller's key, and the fingerprint of the body that came with it."""

    key: str
    fingerprint: str


_LOCK = threading.Lock()
_FLYING: set[tuple[str, str]] = set()
_FIRST = sa.select(idempotency_keys).where(
    idempotency_keys.c.tenant_id == sa.bindparam("tenant_id"), idempotency_keys.c.key == sa.bindparam("key")
)


@contextmanager
def in_flight(caller: Caller, idempotency: Idempotency | None) -> Iterator[None]:
    """Refuse a second request with the same key while the first is being accepted in this process.

    Between processes the key's row decides: the later transaction fails on it and replays the first reply.

    Raises:
        IdempotencyInFlight: the first is being accepted.
    """
    if idempotency is None:
        yield
        return
    mine = (caller.tenant_id, idempotency.key)
    with _LOCK:
        if mine in _FLYING:
            raise IdempotencyInFlight("a request with this Idempotency-Key is being accepted; retry shortly")
        _FLYING.add(mine)
    try:
        yield
    finally:
        with _LOCK:
            _FLYING.discard(mine)


def first_reply(db: Database, caller: Caller, idempotency: Idempotency | None) -> Reply | None:
    """What the first request with this key was answered, or None if this is the first.

    Raises:
        IdempotencyMismatch: the first had another body.
    """
    if idempotency is None:
        return None
    with db.read() as connection:
        mine = {"tenant_id": caller.tenant_id, "key": idempotency.key}
        row = connection.execute(_FIRST, mine).one_or_none()
    if row is None:
        return None
    if now() - row.created_at >= IDEMPOTENCY_WINDOW:
        _forget(db, row)
        return None
    if row.fingerprint != idempotency.fingerprint:
        raise IdempotencyMismatch("this Idempotency-Key was used before with a different body")
    reply: Reply = row.reply
    return reply


def _forget(db: Database, row: sa.Row[Any]) -> None:
    stale = (
        idempotency_keys.delete()
        .where(idempotency_keys.c.tenant_id == row.tenant_id, idempotency_keys.c.key == row.key)
        .where(idempotency_keys.c.created_at == row.created_at)
    )
    with db.write() as connection:
        connection.execute(stale)


def remember(
    connection: sa.Connection, caller: Caller, idempotency: Idempotency | None, video_id: str, reply: Reply
) -> None:
    """Keep the reply, in the transaction that it tells of.

    Raises:
        sqlalchemy.exc.IntegrityError: another process was first with this key.
    """
    if idempotency is None:
        return
    row = {
        "tenant_id": caller.tenant_id,
        "key": idempotency.key,
        "fingerprint": idempotency.fingerprint,
        "video_id": video_id,
        "reply": reply,
        "created_at": now(),
    }
    connection.execute(idempotency_keys.insert(), row)
