"""What is on record of the operator's accounts at providers: the state of each one's circuit breaker.

An account without a row has had no trouble yet. What makes a state change is decided in
:mod:`gateway.jobs.accounts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.db.engine import now
from gateway.db.tables import attempts, provider_accounts, videos

Key = tuple[str, str]
"""Adapter, account."""

HELD = ("submitting", "submitted", "queued", "running", "outcome_unknown")
"""States of an attempt, its books still open, in which a provider may count it among an account's jobs."""

UNKNOWN_HELD = timedelta(hours=1)
"""For how long one of unknown outcome counts: whatever it became, no render takes longer."""


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """One account. ``closed``: it takes jobs · ``open``: none but a probe, from ``retry_at`` on ·
    ``stopped``: none until a person has acted.

    ``reason`` is a code of :mod:`gateway.spec.errors`, ``detail`` is for the operator alone. ``opened_by``:
    the kind of call that failed. ``openings`` counts those in a row. ``probe_until``: a probe is under way,
    until then at most.
    """

    adapter: str
    account: str
    state: Literal["closed", "open", "stopped"] = "closed"
    since: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    opened_by: str | None = None
    openings: int = 0
    retry_at: datetime | None = None
    probe_until: datetime | None = None

    def takes_job(self, at: datetime) -> bool:
        """Whether a job may go there: always if it is closed; if it is open, the one that probes it."""
        if self.state != "open":
            return self.state == "closed"
        due = self.retry_at is None or at >= self.retry_at
        return due and (self.probe_until is None or at >= self.probe_until)


_ALL = sa.select(provider_accounts).order_by(provider_accounts.c.adapter, provider_accounts.c.account)
_LOCKED = (
    sa.select(provider_accounts)
    .where(
        provider_accounts.c.adapter == sa.bindparam("of_adapter"),
        provider_accounts.c.account == sa.bindparam("of_account"),
    )
    .with_for_update()
)


def read_accounts(connection: sa.Connection) -> Mapping[Key, AccountState]:
    """Every account that has a row."""
    found = (AccountState(**row._mapping) for row in connection.execute(_ALL))
    return {(state.adapter, state.account): state for state in found}


def locked(connection: sa.Connection, adapter: str, account: str) -> AccountState:
    """The state of an account, whose row stays locked until the transaction ends; it is made if it is new."""
    mine = {"of_adapter": adapter, "of_account": account}
    row = connection.execute(_LOCKED, mine).one_or_none()
    if row is None:
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        fresh = asdict(AccountState(adapter=adapter, account=account))
        connection.execute(insert(provider_accounts).values(fresh).on_conflict_do_nothing())
        row = connection.execute(_LOCKED, mine).one()
    return AccountState(**row._mapping)


def save(connection: sa.Connection, state: AccountState) -> None:
    """Record a state; the row is there, because :func:`locked` was asked for it."""
    mine = (provider_accounts.c.adapter == state.adapter) & (provider_accounts.c.account == state.account)
    connection.execute(provider_accounts.update().where(mine).values(asdict(state)))


def jobs_held(connection: sa.Connection, adapter: str, *, planned: bool) -> Mapping[str, int]:
    """By account, how many jobs of this adapter a provider may have; with those that are ``planned`` and on
    their way there."""
    query = (
        sa.select(attempts.c.account, sa.func.count().label("n"))
        .where(
            attempts.c.adapter == adapter,
            attempts.c.settled_at.is_(None),
            attempts.c.waiting.is_(False),
            (attempts.c.state != "outcome_unknown") | (attempts.c.started_at > now() - UNKNOWN_HELD),
        )
        .group_by(attempts.c.account)
    )
    if planned:
        query = query.join(videos, videos.c.id == attempts.c.video_id).where(
            attempts.c.state.in_(("planned", *HELD)), videos.c.parked.is_(False)
        )
    else:
        query = query.where(attempts.c.state.in_(HELD))
    return {row.account: row.n for row in connection.execute(query)}
