"""Watch: the loop over attempts that wait for something, by when they are due.

Ten thousand live jobs at providers are ten thousand rows here, not ten thousand sleeping workflows. Looks
leave no trace in the durable engine; a snapshot is stored only when it changed. The same loop ends what is
past its deadline, looks up submits whose answer was lost, and enqueues settlings that did not come through.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import attempts, videos
from gateway.jobs.admit import release_waiting
from gateway.jobs.adoption import adopt_found
from gateway.jobs.attempts import REMOTE_LIVE, SETTLE_GRACE, change, enqueue_settle, finish, load
from gateway.jobs.control import stop_video
from gateway.jobs.failure import give_up
from gateway.jobs.looks import hopeless, later, observe
from gateway.jobs.parking import release_parked
from gateway.jobs.resources import Resources
from gateway.jobs.submit import look_up
from gateway.jobs.work import Gone, build_job
from gateway.spec import (
    OutcomeUnknown,
    PollsMany,
    ProviderError,
    RateLimited,
    RemoteAdapter,
    Snapshot,
    Stopped,
    Ticket,
    UnexpectedReply,
)

TICK_S = 0.25
PAUSE_S = 2.0
BATCH = 200
LEASE = timedelta(seconds=9)
"""For how long a claimed row is left to its claimer, which renews that while it looks; then to anyone."""

RENEW_EVERY = LEASE / 3

PER_ACCOUNT = 16
LOOK_S = 120.0
"""The longest one look may take."""

LOST_AFTER = timedelta(minutes=5)
"""How long after its deadline an attempt is ended whose own workflow should have ended it."""

BACKOFF_LONGEST = timedelta(seconds=60)
ASKED_LONGEST = timedelta(minutes=5)
"""How long a look is put off at most, whatever the provider asks for: results do not lie there for ever."""

log = logging.getLogger(__name__)

Row = sa.Row[Any]  # an attempt with what its story needs of its video; see attempts.load


class Watcher:
    """Watches all attempts of this gateway; runs on the process's I/O loop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._limits: dict[tuple[str, str], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PER_ACCOUNT)
        )
        self._looks: set[asyncio.Task[None]] = set()
        self._leases: dict[str, datetime] = {}  # of the rows that are being looked at
        self._renew_at = now()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                await self._tick()
                await asyncio.sleep(TICK_S)
        finally:
            for look in self._looks:
                look.cancel()
            await asyncio.gather(*self._looks, return_exceptions=True)

    async def _tick(self) -> None:
        try:
            await self._renew()
            await asyncio.to_thread(self._sweep)
            await asyncio.to_thread(release_parked, self._resources)
            await asyncio.to_thread(release_waiting, self._resources)
            rows = await asyncio.to_thread(self._claim_due)
        except Exception as error:  # noqa: BLE001  # nothing may end the watch
            _log("the watcher cannot read or claim what is due, and tries again", error)
            await asyncio.sleep(PAUSE_S)
            return
        by_account: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows:
            if row.state in ("fetching", "failed", "cancelled"):
                await self._write(row, self._settle_again, row)
            elif row.id not in self._leases:  # else it waits for its turn since an earlier claim
                by_account[row.adapter, row.account].append(row)
        for account, due in by_account.items():
            self._look_at(account, due)

    def _look_at(self, account: tuple[str, str], due: list[Row]) -> None:
        adapter = self._resources.registry.find(*account)
        batched = [row for row in due if isinstance(adapter, PollsMany) and row.state in REMOTE_LIVE]
        groups = [[row] for row in due if row not in batched] + ([batched] if batched else [])
        for group in groups:
            task = asyncio.create_task(self._look(account, group))
            self._looks.add(task)
            self._leases.update({row.id: row.next_poll_at for row in group})
            task.add_done_callback(partial(self._looked, group))

    def _looked(self, rows: list[Row], task: asyncio.Task[None]) -> None:
        self._looks.discard(task)
        for row in rows:
            self._leases.pop(row.id, None)

    async def _look(self, account: tuple[str, str], rows: list[Row]) -> None:
        async with self._limits[account]:
            try:
                async with asyncio.timeout(LOOK_S):
                    if rows[0].state == "outcome_unknown":
                        await self._look_up(rows[0])
                    else:
                        await self._poll(account, rows)
            except Exception as error:  # noqa: BLE001  # gone, hanging or faulty: a look that failed
                if isinstance(error, TimeoutError):  # cut short, so that nobody has counted the call
                    await asyncio.to_thread(self._resources.accounts.report, account, "look", error)
                _log(f"looking at {', '.join(row.id for row in rows)} failed", error)
                for row in rows:
                    await self._write(row, self._put_off, row, error)

    async def _write(self, row: Row, write: Callable[..., None], *arguments: Any) -> bool:
        """Record what one row's turn brought; what cannot be is that row's trouble, and its lease brings it
        back."""
        try:
            await asyncio.to_thread(write, *arguments)
        except Exception as error:  # noqa: BLE001  # a full database, or what a provider said cannot be stored
            _log(f"attempt {row.id}: what came of its turn was not recorded", error)
            return False
        return True

    async def _poll(self, account: tuple[str, str], rows: list[Row]) -> None:
        adapter = self._resources.registry.remote(*account)
        for row in rows:
            if row.stop_requested_at is not None and row.cancel_sent_at is None:
                await self._cancel(adapter, row)
        seen = await self._snapshots(adapter, rows)
        for row, snapshot in zip(rows, seen, strict=True):
            if isinstance(snapshot, ProviderError):
                await self._write(row, self._put_off, row, snapshot)
            elif not await self._write(row, observe, self._resources, row.id, snapshot):
                await self._write(row, self._put_off, row, UnexpectedReply("what it said cannot be recorded"))

    async def _snapshots(self, adapter: RemoteAdapter, rows: list[Row]) -> Sequence[Snapshot | ProviderError]:
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
            _log(f"attempt {row.id}: cancel failed, and is sent again with the next look", error)
            return
        await self._write(row, self._cancel_was_sent, row)

    def _cancel_was_sent(self, row: Row) -> None:
        with self._resources.db.write() as connection:
            change(connection, row.id, expect=REMOTE_LIVE, cancel_sent_at=now())

    async def _look_up(self, row: Row) -> None:
        try:
            job = build_job(self._resources, row)
            adapter = self._resources.registry.remote(row.adapter, row.account)
            ticket = await look_up(self._resources, adapter, job, row)
        except (OutcomeUnknown, Gone) as error:
            await self._write(row, self._put_off, row, error)
        else:
            await self._write(row, self._adopt, row, ticket)

    def _adopt(self, row: Row, ticket: Ticket) -> None:
        try:
            with self._resources.db.write() as connection:
                adopt_found(connection, row, ticket, fence=row.fence)
        except OutcomeUnknown as error:
            self._put_off(row, error)

    def _put_off(self, row: Row, error: Exception) -> None:
        """A look failed: come back later, or give up long after the deadline."""
        live = (*REMOTE_LIVE, "outcome_unknown")
        with self._resources.db.write() as connection:
            fresh = load(connection, row.id, lock=True)
            if fresh.state in live and hopeless(fresh):
                give_up(connection, fresh)
                return
            backoff = min(timedelta(seconds=1) * 2 ** min(fresh.tries, 10), BACKOFF_LONGEST)
            lost = fresh.state == "outcome_unknown"  # what was seen at the submit says more
            asked = timedelta(seconds=(error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0)
            change(
                connection,
                row.id,
                expect=live,
                next_poll_at=now() + later(max(backoff, min(asked, ASKED_LONGEST))),
                tries=fresh.tries + 1,
                operator_detail=fresh.operator_detail if lost else _detail(error),
            )

    def _settle_again(self, row: Row) -> None:
        with self._resources.db.write() as connection:
            tries = row.tries + 1
            if change(
                connection, row.id, expect=(row.state,), tries=tries, next_poll_at=now() + SETTLE_GRACE
            ):
                enqueue_settle(connection, self._resources, row.id, tries)

    def _claim_due(self) -> Sequence[Row]:
        at = now()
        due = sa.select(attempts.c.id, attempts.c.next_poll_at).where(attempts.c.next_poll_at <= at)
        with self._resources.db.read() as connection:
            found = connection.execute(due.order_by(attempts.c.next_poll_at).limit(BATCH)).all()
        if not found:
            return []
        with self._resources.db.write() as connection:
            return [load(connection, row.id) for row in found if _claim(connection, row, at)]

    async def _renew(self) -> None:
        """Keep what is being looked at from being claimed elsewhere."""
        at = now()
        if not self._leases or at < self._renew_at:
            return
        self._renew_at = at + RENEW_EVERY
        held = dict(self._leases)
        await asyncio.to_thread(self._extend, held, at + LEASE)
        self._leases.update(dict.fromkeys(held.keys() & self._leases.keys(), at + LEASE))

    def _extend(self, held: dict[str, datetime], until: datetime) -> None:
        """Prolong these leases; a row that a look has changed since stays as it is."""
        mine = (attempts.c.id == sa.bindparam("mine")) & (attempts.c.next_poll_at == sa.bindparam("held"))
        extended = attempts.update().where(mine).values(next_poll_at=until)
        rows = [{"mine": attempt_id, "held": held_until} for attempt_id, held_until in held.items()]
        with self._resources.db.write() as connection:
            connection.execute(extended, rows)

    def _sweep(self) -> None:
        """Stop what is past its deadline, and end what its own workflow left behind."""
        at = now()
        unfinished = videos.c.status.in_(("queued", "in_progress"))
        late = sa.select(videos.c.id).where(
            unfinished, videos.c.deadline_at < at, videos.c.stop_requested_at.is_(None)
        )
        lost = (
            sa.select(attempts.c.id, attempts.c.state)
            .join(videos, videos.c.id == attempts.c.video_id)
            .where(
                unfinished,
                videos.c.deadline_at < at - LOST_AFTER,
                attempts.c.state.in_(("planned", "submitting"))
                | ((attempts.c.kind == "local") & (attempts.c.state == "running")),
            )
        )
        with self._resources.db.read() as connection:
            overdue = connection.execute(late.order_by(videos.c.id).limit(BATCH)).all()  # locked in one order
            stuck = connection.execute(lost.order_by(videos.c.id).limit(BATCH)).all()
        if not overdue and not stuck:
            return
        with self._resources.db.write() as connection:
            for row in overdue:
                stop_video(connection, self._resources, row.id, "deadline")
            for row in stuck:
                self._end_lost(connection, row, at)

    def _end_lost(self, connection: sa.Connection, row: sa.Row[str, str], at: datetime) -> None:
        if row.state == "submitting":  # it may have been sent: looked up once more, and then let go
            change(connection, row.id, expect=("submitting",), state="outcome_unknown", next_poll_at=at)
        else:
            finish(connection, self._resources, row.id, expect=(row.state,), outcome=Stopped())


def _claim(connection: sa.Connection, row: sa.Row[str, datetime], at: datetime) -> bool:
    mine = (attempts.c.id == row.id) & (attempts.c.next_poll_at == row.next_poll_at)
    return connection.execute(attempts.update().where(mine).values(next_poll_at=at + LEASE)).rowcount == 1


def _detail(error: Exception) -> str:
    return error.operator_detail if isinstance(error, ProviderError) else f"{type(error).__name__}: {error}"


def _log(what: str, error: Exception) -> None:
    """An expected trouble in one line, since a full disk brings thousands of them; a bug with its trace."""
    expected = isinstance(error, ProviderError | sa.exc.SQLAlchemyError | TimeoutError)
    log.error("%s: %s", what, _detail(error), exc_info=None if expected else error)


async def _looked_at(adapter: RemoteAdapter, rows: list[Row]) -> Sequence[Snapshot | ProviderError]:
    """A look at each; the trouble itself, where one call for all brought nothing else."""
    tickets = [Ticket.model_validate(row.ticket) for row in rows]
    if not isinstance(adapter, PollsMany):
        return [await adapter.poll(ticket) for ticket in tickets]
    seen = await adapter.poll_many(tickets)
    if isinstance(seen[0], ProviderError) and all(type(one) is type(seen[0]) for one in seen):
        raise seen[0]
    return seen
