"""Watch: the loop over attempts that wait for something, by when they are due.

Ten thousand live jobs at providers are ten thousand rows here, not ten thousand sleeping workflows. Looks
leave no trace in the durable engine; what goes on is recorded many at a time, and a snapshot stored only when
it changed. The same loop ends what is past its deadline, looks up submits whose answer was lost, and enqueues
settlings that did not come through.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from gateway.db import now
from gateway.jobs.admit import release_waiting
from gateway.jobs.adoption import adopt_found
from gateway.jobs.attempts import REMOTE_LIVE, SETTLE_GRACE, change, enqueue_settle, load
from gateway.jobs.due import BATCH, LEASE, OVER, Account, Row, claim_due, extend
from gateway.jobs.looks import put_off
from gateway.jobs.overdue import end_overdue
from gateway.jobs.parking import release_parked
from gateway.jobs.recorder import Look, Recorder, log_trouble, named
from gateway.jobs.resources import Resources
from gateway.jobs.sending import look_up
from gateway.jobs.work import Gone, build_job
from gateway.spec import (
    OutcomeUnknown,
    PollsMany,
    ProviderError,
    RemoteAdapter,
    Snapshot,
    Ticket,
    UnexpectedReply,
)

TICK_S = 0.25
PAUSE_S = 2.0
RENEW_EVERY = LEASE / 3

TOGETHER = 50
"""So many are looked at in one call, where the provider allows it."""

PER_ACCOUNT = 32
"""Calls to a provider account at once."""

ENOUGH = 10 * TOGETHER
"""Of an account that has so many looked at, or waiting for it, no more are claimed for now."""

LOOK_S = 120.0
"""The longest one call may take."""

log = logging.getLogger(__name__)


class Watcher:
    """Watches all attempts of this gateway; runs on the process's I/O loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._recorder = Recorder(resources)
        self._limits: dict[Account, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_ACCOUNT))
        self._looks: set[asyncio.Task[None]] = set()
        self._leases: dict[str, datetime] = {}  # of the rows that are being looked at
        self._held: Counter[Account] = Counter()  # how many of them are of each account
        self._renew_at = now()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                more = await self._tick()
                await asyncio.sleep(0 if more else TICK_S)
        finally:
            for look in self._looks:
                look.cancel()
            await asyncio.gather(*self._looks, return_exceptions=True)

    async def _tick(self) -> bool:
        """One round; True if more may be due than can be claimed at once."""
        try:
            await self._renew()
            for tidy in (end_overdue, release_parked, release_waiting):
                await asyncio.to_thread(tidy, self._resources)
            rows = await asyncio.to_thread(self._claim_due)
        except Exception as error:  # noqa: BLE001  # nothing may end the watch
            log_trouble("the watcher cannot read or claim what is due, and tries again", error)
            await asyncio.sleep(PAUSE_S)
            return False
        by_account: dict[Account, list[Row]] = defaultdict(list)
        for row in rows:
            by_account[row.adapter, row.account].append(row)
        for account, due in by_account.items():
            self._see_to(account, due)
        return len(rows) >= BATCH / 2  # some of a full batch may be at work here already, or another's

    def _claim_due(self) -> Sequence[Row]:
        """Claim what is due, but for what is being looked at: if that was woken, it is due once more then."""
        full = [account for account, held in list(self._held.items()) if held >= ENOUGH]
        return claim_due(self._resources.db, now(), self._leases, full)

    def _see_to(self, account: Account, due: Sequence[Row]) -> None:
        over = [row for row in due if row.state in OVER]
        lost = [row for row in due if row.state == "outcome_unknown"]
        live = [row for row in due if row.state in REMOTE_LIVE]
        if over:
            self._begin(over, self._settle_all(over))
        for row in lost:
            self._begin([row], self._look_up(account, row))
        many = isinstance(self._resources.registry.find(*account), PollsMany)
        size = TOGETHER if many else 1
        for start in range(0, len(live), size):
            some = live[start : start + size]
            self._begin(some, self._look_at(account, some))

    def _begin(self, rows: Sequence[Row], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._looks.add(task)
        self._leases.update({row.id: row.next_poll_at for row in rows})
        self._held.update((row.adapter, row.account) for row in rows)
        task.add_done_callback(partial(self._done, rows))

    def _done(self, rows: Sequence[Row], task: asyncio.Task[None]) -> None:
        self._looks.discard(task)
        for row in rows:
            self._leases.pop(row.id, None)
            self._held[row.adapter, row.account] -= 1

    async def _renew(self) -> None:
        """Keep what is being looked at from being claimed elsewhere."""
        at = now()
        if not self._leases or at < self._renew_at:
            return
        self._renew_at = at + RENEW_EVERY
        held = dict(self._leases)
        await asyncio.to_thread(extend, self._resources.db, held, at + LEASE)
        self._leases.update(dict.fromkeys(held.keys() & self._leases.keys(), at + LEASE))

    async def _look_at(self, account: Account, rows: Sequence[Row]) -> None:
        """Look at jobs of one account in one call."""
        await self._recorder.record(await self._call(account, rows))

    async def _call(self, account: Account, rows: Sequence[Row]) -> list[Look]:
        async with self._limits[account]:
            try:
                async with asyncio.timeout(LOOK_S):
                    seen = await self._poll(self._resources.registry.remote(*account), rows)
                return list(zip(rows, seen, strict=True))
            except Exception as error:  # noqa: BLE001  # gone, hanging or faulty: a look that failed
                await self._failed(account, rows, error)
                return [(row, error) for row in rows]

    async def _failed(self, account: Account, rows: Sequence[Row], error: Exception) -> None:
        if isinstance(error, TimeoutError):  # cut short, so that nobody has counted the call
            await asyncio.to_thread(self._resources.accounts.report, account, "look", error)
        log_trouble(f"looking at {named(rows)} failed", error)

    async def _poll(self, adapter: RemoteAdapter, rows: Sequence[Row]) -> Sequence[Snapshot | ProviderError]:
        for row in rows:
            if row.stop_requested_at is not None and row.cancel_sent_at is None:
                await self._cancel(adapter, row)
        return await self._snapshots(adapter, rows)

    async def _snapshots(
        self, adapter: RemoteAdapter, rows: Sequence[Row]
    ) -> Sequence[Snapshot | ProviderError]:
        account = (rows[0].adapter, rows[0].account)
        try:
            return await self._resources.accounts.reported(account, "look", _looked_at(adapter, rows))
        except ProviderError as error:
            return [error] * len(rows)
        except Exception as error:
            log.exception("adapter %s raised on a poll", adapter.name)
            return [
                UnexpectedReply("the adapter failed", operator_detail=f"{type(error).__name__}: {error}")
            ] * len(rows)

    async def _cancel(self, adapter: RemoteAdapter, row: Row) -> None:
        try:
            cancel = adapter.cancel(Ticket.model_validate(row.ticket))
            accepted = await self._resources.accounts.reported((row.adapter, row.account), "look", cancel)
            log.info("attempt %s: the provider %s the cancel", row.id, "accepted" if accepted else "declined")
        except Exception as error:  # noqa: BLE001  # an adapter's bug too: the job is watched all the same
            log_trouble(f"attempt {row.id}: cancel failed, and is sent again with the next look", error)
            return
        await self._recorder.write([row], self._cancel_was_sent, row)

    def _cancel_was_sent(self, row: Row) -> None:
        with self._resources.db.write() as connection:
            change(connection, row.id, expect=REMOTE_LIVE, cancel_sent_at=now())

    async def _look_up(self, account: Account, row: Row) -> None:
        """Look for the job of a submit whose answer was lost."""
        async with self._limits[account]:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._find(row)
            except Exception as error:  # noqa: BLE001  # gone, hanging or faulty: a look that failed
                if not isinstance(error, OutcomeUnknown | Gone):
                    await self._failed(account, [row], error)
                await self._recorder.write([row], put_off, self._resources, row, error)

    async def _find(self, row: Row) -> None:
        whole = await asyncio.to_thread(self._load, row)
        job = build_job(self._resources, whole)
        adapter = self._resources.registry.remote(row.adapter, row.account)
        ticket = await look_up(self._resources, adapter, job, whole)
        await self._recorder.write([row], self._adopt, whole, ticket)

    def _load(self, row: Row) -> Row:
        with self._resources.db.read() as connection:
            return load(connection, row.id)

    def _adopt(self, row: Row, ticket: Ticket) -> None:
        try:
            with self._resources.db.write() as connection:
                adopt_found(connection, row, ticket, fence=row.fence)
        except OutcomeUnknown as error:
            put_off(self._resources, row, error)

    async def _settle_all(self, rows: Sequence[Row]) -> None:
        for row in rows:
            await self._recorder.write([row], self._settle_again, row)

    def _settle_again(self, row: Row) -> None:
        with self._resources.db.write() as connection:
            tries = row.tries + 1
            if change(
                connection, row.id, expect=(row.state,), tries=tries, next_poll_at=now() + SETTLE_GRACE
            ):
                enqueue_settle(connection, self._resources, row.id, tries)


async def _looked_at(adapter: RemoteAdapter, rows: Sequence[Row]) -> Sequence[Snapshot | ProviderError]:
    """A look at each; the trouble itself, where one call for all brought nothing else."""
    tickets = [Ticket.model_validate(row.ticket) for row in rows]
    if not isinstance(adapter, PollsMany):
        return [await adapter.poll(ticket) for ticket in tickets]
    seen = await adapter.poll_many(tickets)
    if isinstance(seen[0], ProviderError) and all(type(one) is type(seen[0]) for one in seen):
        raise seen[0]
    return seen
