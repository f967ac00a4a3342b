"""Fair shares of a device pool: of what waits, whose tenant has had the least starts first.

Start-time fair queueing (Goyal, Vin and Cheng, 1996). A job's virtual start is the later of its tenant's
last virtual finish and the pool's virtual now, which is the virtual start of the job started last; its finish
lies its length, divided by the tenant's weight, after that. The virtual start is the job's priority in the
queue, so a tenant that floods the pool pushes its own jobs back and nobody else's, and an idle tenant saves
nothing up.

Virtual times are tenths of a second of the whole pool.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.db.tables import pool_clocks, pool_shares, tenants
from gateway.spec import Priority

CLASS_SIZE = 2**30
"""Virtual starts below it, in each class of priority: enough for three years of a pool that is never idle."""

CLASSES: tuple[Priority, ...] = ("interactive", "batch")
"""Everything that waits of the first starts before anything of the second; the shares of each are its own."""


def class_base(priority: Priority) -> int:
    """The smallest priority of a class; never 0, which the engine takes for unset and puts first."""
    return CLASSES.index(priority) * CLASS_SIZE + 1


def join_queue(
    connection: sa.Connection,
    pool: str,
    tenant_id: str,
    priority: Priority,
    *,
    device_ms: Decimal,
    slots: int,
) -> int:
    """Let a job of this length take its place; returns its priority in the pool's queue, lowest first."""
    lane = _lane(pool, priority)
    mine = {"of": tenant_id, "in_lane": lane}
    found = connection.execute(_BEFORE, mine).one()
    length = max(1, int(device_ms / (100 * slots * found.weight)))
    join = _JOIN[connection.dialect.name]
    times = {"virtual_now": found.virtual_now or 0, "length": length}
    reached = connection.execute(join, mine | times).scalar_one()
    return class_base(priority) + min(int(reached) - length, CLASS_SIZE - 2)


def leave_queue(connection: sa.Connection, pool: str, priority: int) -> None:
    """Let the pool's virtual now follow the job that starts."""
    number, start = divmod(priority - 1, CLASS_SIZE)
    virtual_now = pool_clocks.c.virtual_now
    first = {"lane": _lane(pool, CLASSES[number]), "virtual_now": start}
    again = {"virtual_now": sa.case((virtual_now < start, start), else_=virtual_now)}
    connection.execute(_upsert(connection, pool_clocks, first, again))


def _lane(pool: str, priority: Priority) -> str:
    return pool if priority == CLASSES[0] else f"{pool}:{priority}"


def _upsert(
    connection: sa.Connection, table: sa.Table, first: dict[str, Any], again: dict[str, Any]
) -> postgresql.Insert | sqlite.Insert:
    keys = [column.name for column in table.primary_key]
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table).values(**first).on_conflict_do_update(index_elements=keys, set_=again)


# Built once: building a statement costs more than running it.
_BEFORE = sa.select(
    tenants.c.weight,
    sa.select(pool_clocks.c.virtual_now)
    .where(pool_clocks.c.lane == sa.bindparam("in_lane"))
    .scalar_subquery()
    .label("virtual_now"),
).where(tenants.c.id == sa.bindparam("of"))


def _join(insert: Any) -> Any:
    finish = pool_shares.c.finish
    now, length = (
        sa.bindparam("virtual_now", type_=sa.BigInteger),
        sa.bindparam("length", type_=sa.BigInteger),
    )
    return (
        insert(pool_shares)
        .values(lane=sa.bindparam("in_lane"), tenant_id=sa.bindparam("of"), finish=now + length)
        .on_conflict_do_update(
            index_elements=["lane", "tenant_id"],
            set_={"finish": sa.case((finish > now, finish), else_=now) + length},
        )
        .returning(finish)
    )


_JOIN = {"sqlite": _join(sqlite.insert), "postgresql": _join(postgresql.insert)}
