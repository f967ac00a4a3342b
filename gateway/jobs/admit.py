"""Whether a provider account takes another job now; what has to wait for that, and its release.

An attempt waits as ``planned`` and ``waiting``, with nothing in the engine: the watcher starts the oldest
once the account has room, or is to be probed. What can be had in another way does not wait for an account
that is out of use, but moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.db.accounts import AccountState, Key, jobs_held, locked, read_accounts, save
from gateway.db.tables import attempts
from gateway.jobs.accounts import PROBE_WITHIN
from gateway.jobs.attempts import change, finish, load, start_planned
from gateway.jobs.failure import ACCOUNT_OPEN, for_caller, next_way
from gateway.jobs.resources import Resources
from gateway.routing.gather import limits_of
from gateway.spec import AccountLimits, Failed, RemoteAdapter

AT_ONCE = 100
"""As many are released in one transaction where nothing limits them."""


def admitted(connection: sa.Connection, resources: Resources, row: sa.Row[Any], at: datetime) -> bool:
    """Whether a planned attempt may be submitted now. If not, it is seen to in the caller's transaction: it
    waits, or it ends and the next way is tried.

    Raises:
        TooSoon: its account allows no further submit at this moment; nothing is changed.
    """
    key, limits = (row.adapter, row.account), _limits(resources, row.adapter, row.account)
    known = resources.timings.accounts(lambda: read_accounts(connection)).get(key)
    if limits.concurrent is not None or (known is not None and known.state != "closed"):
        state = locked(connection, *key)
        closed = not state.takes_job(at)
        if state.state == "stopped" or (closed and next_way(connection, resources, row, elsewhere=True)):
            _pass_over(connection, resources, row)
            return False
        if closed or not _has_room(connection, row, limits):
            keep_waiting(connection, row)
            return False
        if state.state == "open":
            save(connection, replace(state, probe_until=at + PROBE_WITHIN))
    if limits.submits_per_s is not None:
        resources.pace.take_turn(key, limits.submits_per_s)
    return True


def keep_waiting(connection: sa.Connection, row: sa.Row[Any]) -> bool:
    """Let an attempt that was not sent wait for its account; the watcher starts it again."""
    return change(
        connection, row.id, expect=(row.state,), under=row.fence, state="planned", waiting=True, tries=0
    )


def _pass_over(connection: sa.Connection, resources: Resources, row: sa.Row[Any]) -> None:
    outcome = Failed(
        code=ACCOUNT_OPEN,
        message=for_caller(
            "The gateway's account at the provider takes no jobs at present. Nothing was created.",
            user_fault=False,
        ),
    )
    finish(connection, resources, row.id, expect=("planned",), outcome=outcome, finished_at=now())


def _has_room(connection: sa.Connection, row: sa.Row[Any], limits: AccountLimits) -> bool:
    """Its place counts from when it was planned: what waits already, and is older, goes first."""
    if limits.concurrent is None:
        return True
    if jobs_held(connection, row.adapter, planned=False).get(row.account, 0) >= limits.concurrent:
        return False
    older = _waiting(row.adapter, row.account).where(attempts.c.id < row.id)
    return connection.execute(older.limit(1)).first() is None


def release_waiting(resources: Resources) -> None:
    """Start what waits for an account that takes it now."""
    found = sa.select(attempts.c.adapter, attempts.c.account).where(attempts.c.waiting).distinct()
    with resources.db.read() as connection:
        keys = [(row.adapter, row.account) for row in connection.execute(found)]
        known = read_accounts(connection) if keys else {}
        ready = [key for key in keys if _room(connection, resources, key, known.get(key)) > 0]
    for key in ready:
        with resources.db.write() as connection:
            room = _room(connection, resources, key, locked(connection, *key))
            oldest = _waiting(*key).order_by(attempts.c.id).limit(room)
            _release(connection, resources, connection.execute(oldest).scalars().all())


def _release(connection: sa.Connection, resources: Resources, oldest: Sequence[str]) -> None:
    """Each start has a fence of its own, by which the engine knows it from the one that led to the wait."""
    for attempt_id in oldest:
        row = load(connection, attempt_id)
        again = {"waiting": False, "fence": row.fence + 1}
        if change(connection, attempt_id, expect=("planned",), under=row.fence, **again):
            start_planned(connection, resources, load(connection, attempt_id))


def _room(connection: sa.Connection, resources: Resources, key: Key, state: AccountState | None) -> int:
    """How many of those that wait are to be started: of a stopped account all, for they move on."""
    if state is not None and state.state == "open":
        return int(state.takes_job(now()))
    limit = _limits(resources, *key).concurrent
    if limit is None or (state is not None and state.state == "stopped"):
        return AT_ONCE
    adapter, account = key
    return min(AT_ONCE, max(0, limit - jobs_held(connection, adapter, planned=True).get(account, 0)))


def _waiting(adapter: str, account: str) -> sa.Select[Any]:
    return sa.select(attempts.c.id).where(
        attempts.c.waiting,
        attempts.c.adapter == adapter,
        attempts.c.account == account,
        attempts.c.state == "planned",
    )


def _limits(resources: Resources, adapter: str, account: str) -> AccountLimits:
    found = resources.registry.find(adapter, account)
    return limits_of(found, account) if isinstance(found, RemoteAdapter) else AccountLimits()
