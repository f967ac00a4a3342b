"""What is known when a request is planned: values only, gathered before the decision (see gather.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from gateway.spec import ModelCard, Policy, Unready


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """An adapter that is installed: its kind, and the account the next job would use."""

    kind: Literal["remote", "local"]
    account: str


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

    ``unready`` is keyed by (offer id, preset), ``timings`` by (offer id, preset, size).
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
    budget_left_micro_usd: int | None = None
    sandboxed: bool = False
