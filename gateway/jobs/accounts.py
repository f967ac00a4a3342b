"""The circuit breaker of each provider account, and the pace of its submits.

Every call to a provider is counted here, in this process. Only a change of an account's state is written to
SQL, where all processes see it: many failures among the last calls open it, one call that works after the
back-off closes it, a rejected key or an empty account stops it until a person has acted. A refusal of the
caller's own input is a success of the account.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

import sqlalchemy as sa

from gateway.db import Database, now
from gateway.db.accounts import AccountState, Key, locked, read_accounts, save
from gateway.routing.gather import TimingCache
from gateway.spec import (
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Refused,
    UnexpectedReply,
)

CALLS = 10
FAILURES = 5
WINDOW_S = 60.0
"""So many failures among the last so many calls of a kind, of this process and within this time, open it."""

OPEN_FIRST = timedelta(seconds=10)
OPEN_LONGEST = timedelta(minutes=5)
"""For how long it takes no jobs, doubled when a probe fails; longer where the provider says so."""

PROBE_WITHIN = timedelta(minutes=2)
"""How long a probe may take; then another is sent."""

LONG_WAIT_S = 5.0
"""A provider that asks for a longer pause than this is left alone at once, after one failure."""

CallKind = Literal["submit", "look"]
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended: ``error`` is what it raised, ``failing`` that too many of its kind did of late."""

    kind: CallKind
    error: Exception | None
    failing: bool = False

    @property
    def works(self) -> bool:
        """True if the provider did its part: it also does where it refuses an input, or has two of a job."""
        ambiguous = self.kind == "look" and isinstance(self.error, OutcomeUnknown)
        return self.error is None or isinstance(self.error, Refused) or ambiguous


def judged(state: AccountState, outcome: Outcome, at: datetime) -> AccountState:
    """What a call makes of its account; the very same state where it changes nothing.

    While it is open, only calls after ``retry_at`` tell something: looks at jobs go on all the while, and
    what was under way when it opened fails late. A look that works closes what failing looks have opened, a
    submit that works closes it in any case.
    """
    error = outcome.error
    if isinstance(error, NotAuthorised | OutOfCredit):
        return state if state.state == "stopped" else _stopped(state, error, at)
    if state.state == "stopped":
        return state
    if state.state == "open":
        early = state.retry_at is not None and at < state.retry_at
        if early or outcome.kind not in ("submit", state.opened_by):
            return state
    if outcome.works or error is None:
        fresh = AccountState(adapter=state.adapter, account=state.account, since=at)
        return fresh if state.state == "open" else state
    asked_s = (error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0
    if state.state == "open" or outcome.failing or asked_s > LONG_WAIT_S:
        return _opened(state, outcome.kind, error, timedelta(seconds=asked_s), at)
    return state


def _stopped(state: AccountState, error: ProviderError, at: datetime) -> AccountState:
    return AccountState(
        adapter=state.adapter,
        account=state.account,
        state="stopped",
        since=at,
        reason=error.code,
        detail=error.operator_detail,
    )


def _opened(
    state: AccountState, kind: CallKind, error: Exception, asked: timedelta, at: datetime
) -> AccountState:
    own = error if isinstance(error, ProviderError) else None
    return replace(
        state,
        state="open",
        since=state.since if state.state == "open" else at,
        reason=own.code if own else UnexpectedReply.code,
        detail=own.operator_detail if own else f"{type(error).__name__}: {error}",
        opened_by=state.opened_by or kind,
        openings=state.openings + 1,
        retry_at=at + max(asked, min(OPEN_FIRST * 2 ** min(state.openings, 10), OPEN_LONGEST)),
        probe_until=None,
    )


class Accounts:
    """The provider accounts as one process uses them."""

    def __init__(self, db: Database, facts: TimingCache) -> None:
        self._db = db
        self._facts = facts
        self._guard = threading.Lock()
        self._calls: dict[tuple[str, str, CallKind], deque[tuple[float, bool]]] = {}

    async def reported(self, account: Key, kind: CallKind, call: Awaitable[T]) -> T:
        """What ``call`` to this account's provider returns or raises, once it is counted."""
        try:
            result = await call
        except Exception as error:
            await self._tell(account, kind, error)
            raise
        await self._tell(account, kind, None)
        return result

    async def _tell(self, account: Key, kind: CallKind, error: Exception | None) -> None:
        """As :meth:`report`; where nothing is to be read or written, which is the rule, without a thread."""
        outcome = self._counted(account, kind, error)
        known = self._facts.accounts_at_hand()
        if known is None or _changes(known, account, outcome):
            await asyncio.to_thread(self._record, account, outcome)

    def report(self, account: Key, kind: CallKind, error: Exception | None) -> None:
        """Count a call that worked, or what it raised. Trouble in recording it is logged, not raised: a
        provider's answer must not be lost for it."""
        self._record(account, self._counted(account, kind, error))

    def _record(self, account: Key, outcome: Outcome) -> None:
        try:
            if _changes(self._facts.accounts(self._read), account, outcome):
                self._change(account, outcome)
        except sa.exc.SQLAlchemyError as failure:
            log.error("the state of account %s of %s was not recorded: %s", account[1], account[0], failure)

    def _counted(self, account: Key, kind: CallKind, error: Exception | None) -> Outcome:
        outcome = Outcome(kind=kind, error=error)
        return replace(outcome, failing=self._failing(account, outcome))

    def _failing(self, account: Key, outcome: Outcome) -> bool:
        failed, at = not outcome.works, time.monotonic()
        with self._guard:
            calls = self._calls.setdefault((*account, outcome.kind), deque(maxlen=CALLS))
            calls.append((at, failed))
            failing = failed and sum(bad for since, bad in calls if at - since <= WINDOW_S) >= FAILURES
            if failing:
                calls.clear()
            return failing

    def _read(self) -> dict[Key, AccountState]:
        with self._db.read() as connection:
            return dict(read_accounts(connection))

    def _change(self, account: Key, outcome: Outcome) -> None:
        with self._db.write() as connection:
            before = locked(connection, *account)
            after = judged(before, outcome, now())
            if after is not before:
                save(connection, after)
        self._facts.forget_accounts()
        if after is not before:
            tell = log.info if after.state == "closed" else log.warning
            tell(
                "account %s of %s is %s: %s", account[1], account[0], after.state, after.detail or "it works"
            )


def _changes(known: Mapping[Key, AccountState], account: Key, outcome: Outcome) -> bool:
    state = known.get(account) or AccountState(adapter=account[0], account=account[1])
    return judged(state, outcome, now()) is not state


def reset_account(connection: sa.Connection, adapter: str, account: str, who: str) -> AccountState:
    """Let an account take jobs again, by a person's word; returns what it was."""
    before = locked(connection, adapter, account)
    save(connection, AccountState(adapter=adapter, account=account, since=now()))
    log.warning("account %s of %s, which was %s, is reset by %s", account, adapter, before.state, who)
    return before
