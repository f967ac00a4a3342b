"""Routing: facts are gathered (async, reads SQL), then a pure function decides on them."""

from __future__ import annotations

from gateway.routing.facts import AdapterFacts, Facts, PoolFacts, Timing
from gateway.routing.plan import UnknownModel, find_card, plan

__all__ = ["AdapterFacts", "Facts", "PoolFacts", "Timing", "UnknownModel", "find_card", "plan"]
