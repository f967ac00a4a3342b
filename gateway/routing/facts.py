"""What is known when a request is planned: values only, gathered before the decision (see gather.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from gateway.spec import ModelCard, Policy, Unready


@dataclass(frozen=True, kw_only=True)
class AccountFacts:
    """One of the operator's accounts at a provider, as its circuit breaker has it.

    ``takes_job``: the next job may go there. If it does not: ``state`` since when, the code of the trouble,
    and when it is tried again. ``held``: jobs that it has; ``full``: as many as the provider allows.
    ``lacks``: offers that cannot be had with it.
    """

    name: str
    takes_job: bool = True
    state: Literal["closed", "open", "stopped"] = "closed"
    since: datetime | None = None
    reason: str | None = None
    retry_at: datetime | None = None
    held: int = 0
    full: bool = False
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """An adapter that is installed: its kind, and its accounts, the preferred one first."""

    kind: Literal["remote", "local"]
    accounts: tuple[AccountFacts, ...]


@dataclass(frozen=True, kw_only=True)
class GoneFacts:
    """An offer whose provider answered that it no longer has the model: since when, in its words."""

    since: datetime
    said: str


@dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """A device pool: how many slots, what an hour of one costs, and the jobs waiting and running."""

    slots: int
    hourly_usd: Decimal
    waiting: int = 0
    running: int = 0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The median of recent renders: milliseconds of work per second of clip, over ``count`` jobs."""

    ms_per_second: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything a plan depends on besides the request.

    ``unready`` is keyed by (offer id, preset), ``timings`` by (offer id, preset, size), ``gone`` by offer id.
    ``budget_left_micro_usd`` is None for a tenant without a budget. With ``sandboxed`` the adapters are the
    stand-ins of test mode.
    """

    today: date
    cards: tuple[ModelCard, ...]
    adapters: Mapping[str, AdapterFacts]
    policy: Policy
    tier: str
    tiers: tuple[str, ...]
    policy_options: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, PoolFacts] = field(default_factory=dict)
    unready: Mapping[tuple[str, str], Unready] = field(default_factory=dict)
    timings: Mapping[tuple[str, str, str], Timing] = field(default_factory=dict)
    gone: Mapping[str, GoneFacts] = field(default_factory=dict)
    budget_left_micro_usd: int | None = None
    sandboxed: bool = False
