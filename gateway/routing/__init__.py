"""Routing: facts are gathered (async, reads SQL), then a pure function decides on them."""

from __future__ import annotations

from gateway.routing.facts import AccountFacts, AdapterFacts, Facts, GoneFacts, PoolFacts, Timing
from gateway.routing.plan import UnknownModel, find_card, plan

__all__ = [
    "AccountFacts",
    "AdapterFacts",
    "Facts",
    "GoneFacts",
    "PoolFacts",
    "Timing",
    "UnknownModel",
    "find_card",
    "plan",
]
