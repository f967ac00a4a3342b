"""Gathers the facts that a plan depends on: from SQL, the plugins and the settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from statistics import median
from typing import Generic, TypeVar

import sqlalchemy as sa

from gateway.db import now
from gateway.db.accounts import AccountState, Key, jobs_held, read_accounts
from gateway.db.leases import slots_alive
from gateway.db.retired import Retired, read_retired
from gateway.db.tables import attempts
from gateway.registry import SANDBOX, Registry, retired_as
from gateway.routing.facts import AccountFacts, AdapterFacts, Facts, GoneFacts, PoolFacts, Timing
from gateway.settings import Settings
from gateway.spec import AccountLimits, Adapter, LocalAdapter, Offer, RemoteAdapter, Unready

RECENT = 500
"""How many of the newest finished attempts the timings are taken from."""

FRESH_S = 5.0
"""For how long the timings of renders are taken as they were read; they move slowly."""

JOBS_FRESH_S = 0.5
"""The same of how many jobs wait and run, which only the estimated times depend on."""

ACCOUNTS_FRESH_S = 0.5
"""The same of what is on record of accounts and retired offers, but for what this process has changed."""

READY_FRESH_S = 1.0
"""The same of what the adapters say of their being ready: there are many to ask."""

log = logging.getLogger(__name__)

Timings = Mapping[tuple[str, str, str], Timing]
JobCounts = Mapping[tuple[str, str], int]
"""By pool and state."""

SlotCounts = Mapping[str, int]
"""By pool."""

Serving = Mapping[str, tuple[Adapter, tuple[str, ...]]]
"""By name: the adapter that is asked, and the accounts it may use."""

UnreadyWays = Mapping[tuple[str, str], Unready]
Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """Something that is read anew once it is so many seconds old."""

    def __init__(self, fresh_s: float) -> None:
        self._fresh_s = fresh_s
        self._found: tuple[Value, float] | None = None

    def get(self, read: Callable[[], Value]) -> Value:
        at, found = time.monotonic(), self._found
        if found is None or at - found[1] >= self._fresh_s:
            found = self._found = (read(), at)
        return found[0]

    def at_hand(self) -> Value | None:
        found = self._found
        return None if found is None or time.monotonic() - found[1] >= self._fresh_s else found[0]

    def forget(self) -> None:
        self._found = None


class TimingCache:
    """Facts that every plan needs and that may be a little old."""

    def __init__(self) -> None:
        self._timings = _Kept[Timings](FRESH_S)
        self._jobs = _Kept[JobCounts](JOBS_FRESH_S)
        self._unready = {mode: _Kept[UnreadyWays](READY_FRESH_S) for mode in (True, False)}
        self._slots = _Kept[SlotCounts](FRESH_S)
        self._accounts = _Kept[Mapping[Key, AccountState]](ACCOUNTS_FRESH_S)
        self._retired = _Kept[Mapping[str, Retired]](ACCOUNTS_FRESH_S)

    def timings(self, connection: sa.Connection) -> Timings:
        """How long renders took, at most ``FRESH_S`` seconds ago."""
        return self._timings.get(lambda: read_timings(connection))

    def jobs(self, connection: sa.Connection) -> JobCounts:
        """How many jobs waited and ran, at most ``JOBS_FRESH_S`` seconds ago."""
        return self._jobs.get(lambda: read_jobs(connection))

    def slots(self, connection: sa.Connection) -> SlotCounts:
        """Slots with a living worker, at most ``FRESH_S`` seconds ago; empty on SQLite, where none says."""
        if connection.dialect.name == "sqlite":
            return {}
        return self._slots.get(lambda: slots_alive(connection))

    def accounts(self, read: Callable[[], Mapping[Key, AccountState]]) -> Mapping[Key, AccountState]:
        """What is on record of provider accounts, ``read`` at most ``ACCOUNTS_FRESH_S`` seconds ago."""
        return self._accounts.get(read)

    def accounts_at_hand(self) -> Mapping[Key, AccountState] | None:
        """The same where nothing has to be read for it, else None."""
        return self._accounts.at_hand()

    def retired(self, connection: sa.Connection) -> Mapping[str, Retired]:
        """The offers retired at run time, as they were at most ``ACCOUNTS_FRESH_S`` seconds ago."""
        return self._retired.get(lambda: read_retired(connection))

    def forget_accounts(self) -> None:
        """Read the accounts and the retired offers anew: one was just changed."""
        self._accounts.forget()
        self._retired.forget()

    def unready(self, registry: Registry, serving: Serving, *, livemode: bool) -> UnreadyWays:
        """What could not run in this mode, at most ``READY_FRESH_S`` seconds ago."""
        return self._unready[livemode].get(lambda: dict(_unready(registry, serving)))


def read_timings(connection: sa.Connection) -> Timings:
    """Medians of the newest successful attempts, by offer, preset and size; not of those with options of
    their own, which may have taken fewer steps."""
    newest = (
        sa.select(
            attempts.c.offer, attempts.c.preset, attempts.c.size, attempts.c.clip_ms, attempts.c.render_ms
        )
        .where(
            attempts.c.state == "succeeded",
            attempts.c.render_ms.is_not(None),
            attempts.c.tuned.is_(False),
            attempts.c.account != SANDBOX,
        )
        .order_by(attempts.c.finished_at.desc())
        .limit(RECENT)
    )
    samples: dict[tuple[str, str, str], list[float]] = {}
    for row in connection.execute(newest):
        samples.setdefault((row.offer, row.preset, row.size), []).append(row.render_ms * 1000 / row.clip_ms)
    return {
        key: Timing(ms_per_second=round(median(values)), count=len(values)) for key, values in samples.items()
    }


def read_jobs(connection: sa.Connection) -> JobCounts:
    """How many jobs wait and run in each device pool."""
    query = (
        sa.select(attempts.c.pool, attempts.c.state, sa.func.count().label("jobs"))
        .where(attempts.c.pool.is_not(None), attempts.c.state.in_(("planned", "running")))
        .group_by(attempts.c.pool, attempts.c.state)
    )
    return {(row.pool, row.state): row.jobs for row in connection.execute(query)}


def gather(
    connection: sa.Connection,
    settings: Settings,
    registry: Registry,
    *,
    tier: str,
    budget_left_micro_usd: int | None,
    today: date,
    timings: TimingCache,
    livemode: bool = True,
) -> Facts:
    """Collect the facts for one request of a tenant, made with a key for live or for test mode."""
    cards = registry.catalog.cards
    serving = serving_adapters(settings, registry, livemode=livemode)
    sandboxed = not livemode or settings.sandbox_only
    return Facts(
        today=today,
        cards=cards,
        aliases={alias: card.id for card in cards for alias in card.aliases},
        adapters={
            name: _adapter_facts(connection, registry, adapter, names, timings)
            for name, (adapter, names) in serving.items()
        },
        policy=registry.policies[settings.policy],
        policy_options=settings.policies.get(settings.policy, {}),
        tier=tier,
        tiers=settings.tiers,
        pools=_pools(timings.jobs(connection), timings.slots(connection), settings),
        unready=timings.unready(registry, serving, livemode=livemode),
        timings=timings.timings(connection),
        gone=_gone(timings.retired(connection), registry, sandboxed=sandboxed),
        budget_left_micro_usd=budget_left_micro_usd,
        sandboxed=sandboxed,
    )


def _gone(retired: Mapping[str, Retired], registry: Registry, *, sandboxed: bool) -> Mapping[str, GoneFacts]:
    """What is gone in this mode, by the offers' own ids."""
    named = {
        offer.id: retired.get(retired_as(offer.id, sandboxed=sandboxed))
        for card in registry.catalog.cards
        for offer in card.offers
    }
    return {offer: GoneFacts(since=one.since, said=one.said) for offer, one in named.items() if one}


def serving_adapters(settings: Settings, registry: Registry, *, livemode: bool) -> Serving:
    """Who serves: stand-ins in test mode, and in a gateway that knows no provider but the sandbox."""
    stand_ins: Serving = {name: (adapter, (SANDBOX,)) for name, adapter in registry.stand_ins.items()}
    if not livemode:
        return stand_ins
    real: Serving = {
        name: (adapter, ("local",) if isinstance(adapter, LocalAdapter) else adapter.accounts)
        for name, adapter in registry.adapters.items()
    }
    return {**stand_ins, **real} if settings.sandbox_only else real


def _adapter_facts(
    connection: sa.Connection,
    registry: Registry,
    adapter: Adapter,
    names: Sequence[str],
    timings: TimingCache,
) -> AdapterFacts:
    if isinstance(adapter, LocalAdapter):
        return AdapterFacts(kind="local", accounts=(AccountFacts(name=names[0]),))
    return AdapterFacts(kind="remote", accounts=account_facts(connection, registry, adapter, names, timings))


def account_facts(
    connection: sa.Connection,
    registry: Registry,
    adapter: RemoteAdapter,
    names: Sequence[str],
    timings: TimingCache,
) -> tuple[AccountFacts, ...]:
    """These accounts of an adapter, the preferred one first. Where there is a choice, their jobs are counted
    and the offers looked at that one may lack."""
    known, at = timings.accounts(lambda: read_accounts(connection)), now()
    if len(names) == 1:
        return (_account_facts(adapter, known.get((adapter.name, names[0])), names[0], 0, at),)
    held = jobs_held(connection, adapter.name, planned=True)
    return tuple(
        replace(
            _account_facts(adapter, known.get((adapter.name, name)), name, held.get(name, 0), at),
            lacks=_lacking(registry, adapter, name),
        )
        for name in names
    )


def _lacking(registry: Registry, adapter: RemoteAdapter, account: str) -> frozenset[str]:
    offers = [offer for card in registry.catalog.cards for offer in card.offers]
    return frozenset(
        offer.id for offer in offers if offer.adapter == adapter.name and not _serves(adapter, offer, account)
    )


def _serves(adapter: RemoteAdapter, offer: Offer, account: str) -> bool:
    try:
        return adapter.serves(offer, account)
    except Exception:  # a stranger's fault must not keep jobs from being planned
        log.exception("adapter %s could not say whether %s has %s", adapter.name, account, offer.id)
        return False


def _account_facts(
    adapter: RemoteAdapter, state: AccountState | None, name: str, held: int, at: datetime
) -> AccountFacts:
    most = limits_of(adapter, name).concurrent
    full = most is not None and held >= most
    if state is None:
        return AccountFacts(name=name, held=held, full=full)
    return AccountFacts(
        name=name,
        takes_job=state.takes_job(at),
        state=state.state,
        since=state.since,
        reason=state.reason,
        retry_at=state.retry_at,
        held=held,
        full=full,
    )


def limits_of(adapter: RemoteAdapter, account: str) -> AccountLimits:
    """What the provider allows this account; nothing is known where the adapter fails to say."""
    try:
        return adapter.limits(adapter.accounts[0] if account == SANDBOX else account)
    except Exception:  # a stranger's fault must not keep jobs from being planned
        log.exception("adapter %s could not say the limits of its account %s", adapter.name, account)
        return AccountLimits()


def _pools(counts: JobCounts, alive: SlotCounts, settings: Settings) -> dict[str, PoolFacts]:
    return {
        name: PoolFacts(
            slots=alive.get(name) or len(pool.devices),
            hourly_usd=pool.hourly_usd,
            waiting=counts.get((name, "planned"), 0),
            running=counts.get((name, "running"), 0),
        )
        for name, pool in settings.pools.items()
    }


def _unready(registry: Registry, serving: Serving) -> Sequence[tuple[tuple[str, str], Unready]]:
    found = []
    for card in registry.catalog.cards:
        for offer in card.offers:
            adapter, _ = serving.get(offer.adapter, (None, ()))
            for preset in offer.presets if adapter is not None else ():
                reason = _ask(adapter, offer, preset.name) if adapter is not None else None
                if reason is not None:
                    found.append(((offer.id, preset.name), reason))
    return found


def _ask(adapter: Adapter, offer: Offer, preset: str) -> Unready | None:
    try:
        return adapter.unready(offer, preset)
    except Exception as error:  # a stranger's fault keeps its own offers out, not everybody's requests
        log.exception("adapter %s could not say whether %s is ready", adapter.name, offer.id)
        return Unready(
            code="adapter_failed", detail=f"{offer.id}: its adapter failed ({type(error).__name__})"
        )
