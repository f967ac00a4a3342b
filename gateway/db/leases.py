"""Leases, on Postgres: which processes are alive on any machine, by the database's clock.

A process renews its row every ``BEAT_S``; one that has not for ``EXPIRED_AFTER`` is taken for dead by the
others, and its work is run again. Facts relied on here are in docs/decisions/0006-many-processes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gateway.db.tables import leases

BEAT_S = 2.0
EXPIRED_AFTER = timedelta(seconds=8)

_CLOCK = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
_FRESH = leases.c.seen_at > _CLOCK - EXPIRED_AFTER


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process; ``slots`` counts its device slots by pool."""

    executor_id: str
    role: str
    host: str
    pid: int
    slots: Mapping[str, int]


def renew(connection: sa.Connection, holder: Holder) -> None:
    """Keep a lease fresh; the first time, and after others removed it, the row is written anew."""
    written = insert(leases).values(
        executor_id=holder.executor_id,
        seen_at=_CLOCK,
        started_at=_CLOCK,
        role=holder.role,
        host=holder.host[:200],
        pid=holder.pid,
        slots=dict(holder.slots),
    )
    connection.execute(
        written.on_conflict_do_update(index_elements=["executor_id"], set_={"seen_at": _CLOCK})
    )


def alive(connection: sa.Connection, executor_id: str) -> bool:
    """True while this process renews its lease."""
    query = sa.select(leases.c.executor_id).where(leases.c.executor_id == executor_id, _FRESH)
    return connection.execute(query).first() is not None


def holders(connection: sa.Connection) -> set[str]:
    """The executor ids of all leases, fresh or not."""
    return set(connection.execute(sa.select(leases.c.executor_id)).scalars())


def expired(connection: sa.Connection) -> list[str]:
    """The executor ids of those that renew theirs no longer."""
    return list(connection.execute(sa.select(leases.c.executor_id).where(~_FRESH)).scalars())


def remove(connection: sa.Connection, executor_id: str, *, only_expired: bool) -> None:
    """Remove a lease; ``only_expired`` unless the process is known to be gone."""
    mine = leases.c.executor_id == executor_id
    connection.execute(leases.delete().where(mine & ~_FRESH if only_expired else mine))


def slots_alive(connection: sa.Connection) -> Mapping[str, int]:
    """How many device slots of each pool have a living worker."""
    found: Counter[str] = Counter()
    for slots in connection.execute(sa.select(leases.c.slots).where(_FRESH)).scalars():
        found.update(slots)
    return found
