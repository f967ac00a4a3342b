"""Which attempts the watcher has to see to, and its hold on those that it is at work on.

An attempt is due at its ``next_poll_at``. Who claims it puts that off by a lease and renews it while at work;
if it dies, the lease runs out and another claims the attempt. Whatever wakes an attempt in the meantime (a
cancel, a provider that calls back) makes it due again, which ends the hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from gateway.db import Database
from gateway.db.tables import attempts, videos
from gateway.jobs.attempts import REMOTE_LIVE

BATCH = 500
"""So many are claimed at once, at most."""

LEASE = timedelta(seconds=9)
"""For how long a claimed attempt is left to its claimer, which renews that while at work; then to anyone."""

OVER = ("fetching", "failed", "cancelled")
"""The states in which an attempt waits for its settling."""

Account = tuple[str, str]
"""An adapter's name, and that of an account."""

Row = sa.Row[Any]
"""A claimed attempt: what a look needs of it and of its video."""

_COLUMNS: Sequence[sa.Column[Any]] = (
    *(attempts.c.id, attempts.c.video_id, attempts.c.state, attempts.c.adapter, attempts.c.account),
    *(attempts.c.ticket, attempts.c.snapshot, attempts.c.fence, attempts.c.tries, attempts.c.next_poll_at),
    *(attempts.c.submitted_at, attempts.c.running_at, attempts.c.last_poll_at, attempts.c.cancel_sent_at),
    attempts.c.notes,
    *(videos.c.deadline_at, videos.c.stop_requested_at),
)
_IDS = attempts.c.id.in_(sa.bindparam("ids", expanding=True))
_IS_DUE = attempts.c.next_poll_at <= sa.bindparam("at")
_IN_THE_INDEX = attempts.c.state.in_((*REMOTE_LIVE, "outcome_unknown", *OVER))  # it begins with the state

_NOT_FULL = sa.tuple_(attempts.c.adapter, attempts.c.account).not_in(sa.bindparam("full", expanding=True))

_DUE = (
    sa.select(attempts.c.id)
    .where(_IN_THE_INDEX, _IS_DUE, _NOT_FULL)
    .order_by(attempts.c.next_poll_at)
    .limit(BATCH)
)
_FREE = sa.select(attempts.c.id).where(_IDS, _IS_DUE).with_for_update(skip_locked=True)
_CLAIM = (
    attempts.update()
    .where(attempts.c.id.in_(_FREE))
    .values(next_poll_at=sa.bindparam("until"))
    .returning(attempts.c.id)
)
_CLAIMED = sa.select(*_COLUMNS).join_from(attempts, videos, videos.c.id == attempts.c.video_id).where(_IDS)
_HELD = (
    sa.select(attempts.c.id)
    .where(_IDS, attempts.c.next_poll_at == sa.bindparam("held"))
    .with_for_update(skip_locked=True)
)
_EXTEND = attempts.update().where(attempts.c.id.in_(_HELD)).values(next_poll_at=sa.bindparam("until"))


def claim_due(db: Database, at: datetime, but: Container[str], full: Sequence[Account]) -> Sequence[Row]:
    """Claim what is due, the longest due first, of accounts that are not ``full``, and is not among ``but``;
    what another is claiming or changing just now is left to it."""
    with db.read() as connection:
        found = connection.execute(_DUE, {"at": at, "full": full}).scalars().all()
    wanted = [attempt_id for attempt_id in found if attempt_id not in but]
    if not wanted:
        return []
    with db.write() as connection:
        claim = {"ids": wanted, "at": at, "until": at + LEASE}
        mine = connection.execute(_CLAIM, claim).scalars().all()
    with db.read() as connection:
        rows: Sequence[Any] = connection.execute(_CLAIMED, {"ids": mine}).all() if mine else []
        return rows


def extend(db: Database, held: Mapping[str, datetime], until: datetime) -> None:
    """Prolong leases, each held until a time of its own; what was woken, or was changed by a look since,
    stays as it is."""
    by_time: dict[datetime, list[str]] = defaultdict(list)
    for attempt_id, held_until in held.items():
        by_time[held_until].append(attempt_id)
    with db.write() as connection:
        for held_until, ids in by_time.items():
            connection.execute(_EXTEND, {"ids": ids, "held": held_until, "until": until})
