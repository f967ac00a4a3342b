"""A tenant's videos under way at once: what is more is accepted, and parked until there is room."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.tables import attempts, tenants, videos
from gateway.jobs.attempts import load, start_planned
from gateway.jobs.resources import Resources

ACTIVE = ("queued", "in_progress")

AT_ONCE = 100
"""As many are released in one transaction where there is no limit any more."""


def park_if_full(connection: sa.Connection, tenant_id: str, video_id: str) -> bool:
    """Park a video that was just accepted, if its tenant has as many under way as it may; True if so."""
    if _room(connection, tenant_id) >= 0:  # the new one is counted already
        return False
    connection.execute(videos.update().where(videos.c.id == video_id).values(parked=True))
    return True


def release_parked(resources: Resources) -> None:
    """Start what is parked and has room now."""
    waiting = sa.select(videos.c.tenant_id).where(videos.c.parked, videos.c.status.in_(ACTIVE)).distinct()
    with resources.db.read() as connection:
        found = list(connection.execute(waiting).scalars())
    for tenant_id in found:
        with resources.db.write() as connection:
            room = _room(connection, tenant_id)
            if room > 0:
                _release(connection, resources, tenant_id, room)


def _release(connection: sa.Connection, resources: Resources, tenant_id: str, room: int) -> None:
    next_ones = (
        sa.select(attempts.c.id, attempts.c.video_id)
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(
            videos.c.tenant_id == tenant_id,
            videos.c.parked,
            videos.c.status.in_(ACTIVE),
            attempts.c.state == "planned",
        )
        .order_by(attempts.c.priority, attempts.c.id)
        .limit(room)
    )
    for row in connection.execute(next_ones).all():
        connection.execute(videos.update().where(videos.c.id == row.video_id).values(parked=False))
        start_planned(connection, resources, load(connection, row.id))


def _room(connection: sa.Connection, tenant_id: str) -> int:
    """How many more may be under way; the tenant's row stays locked, so that two cannot take one place."""
    locked = sa.select(tenants.c.max_active).where(tenants.c.id == tenant_id).with_for_update(key_share=True)
    limit = connection.execute(locked).scalar_one()
    under_way = sa.select(sa.func.count()).where(
        videos.c.tenant_id == tenant_id,
        videos.c.status.in_(ACTIVE),
        videos.c.parked.is_(False),
        videos.c.livemode,
    )
    return AT_ONCE if limit is None else int(limit - connection.execute(under_way).scalar_one())
