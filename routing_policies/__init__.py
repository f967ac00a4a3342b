"""The built-in routing policies, as a plugin like any other."""

from __future__ import annotations

from gateway.spec import Policy, hookimpl
from routing_policies.best_quality import BestQuality
from routing_policies.cheapest import Cheapest
from routing_policies.fastest import Fastest
from routing_policies.tiered import Tiered
from routing_policies.weighted import Weighted


@hookimpl
def register_policies() -> list[Policy]:
    """The default, ``tiered``, and four that rank by a measure."""
    return [Tiered(), Cheapest(), Fastest(), BestQuality(), Weighted()]
