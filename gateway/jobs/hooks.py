"""A provider that calls back wakes the look at a job, and does nothing else: what it says is looked up."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import attempts
from gateway.jobs.attempts import REMOTE_LIVE, upstream_key
from gateway.jobs.callbacks import account_of
from gateway.jobs.resources import Resources
from gateway.spec import Ticket


def account_called(resources: Resources, signed: str) -> str | None:
    """The account that a call is about: the token's own, or its attempt's; None if that is unknown."""
    account = account_of(signed)
    if account is not None:
        return account
    with resources.db.read() as connection:
        query = sa.select(attempts.c.account).where(attempts.c.id == signed)
        return connection.execute(query).scalar_one_or_none()


def wake(resources: Resources, adapter: str, signed: str, upstream_ids: Sequence[str]) -> int:
    """Have the watcher look now at the attempt that the token was ``signed`` for, or at those of its account
    that have these ids; returns how many wait for a look."""
    account = account_of(signed)
    if account is None:
        meant = attempts.c.id == signed
    else:
        ids = [upstream_key(Ticket(id=upstream_id)) for upstream_id in upstream_ids]
        meant = (attempts.c.account == account) & attempts.c.upstream_id.in_(ids)
    waiting = attempts.c.state.in_((*REMOTE_LIVE, "outcome_unknown")) & attempts.c.settled_at.is_(None)
    woken = attempts.update().where(attempts.c.adapter == adapter, meant, waiting).values(next_poll_at=now())
    with resources.db.write() as connection:
        return connection.execute(woken).rowcount
