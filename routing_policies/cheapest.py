"""The lowest estimate first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from gateway.spec import Candidate, Ordered, Policy, PolicyInput
from routing_policies._rank import no_options, ranked


class Cheapest(Policy):
    """By estimated price; between equals, the one expected first."""

    name: ClassVar[str] = "cheapest"

    @override
    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        return ranked(
            given,
            candidates,
            branch="cheapest",
            key=lambda c: (c.estimate_usd, c.eta_ms is None, c.eta_ms or 0),
            reason=lambda c: f"estimated at ${c.estimate_usd:f}",
        )

    @override
    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        return no_options(self.name, options)
