"""The one expected first, first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from gateway.spec import Candidate, Ordered, Policy, PolicyInput
from routing_policies._rank import no_options, ranked


class Fastest(Policy):
    """By expected time, queue included; unknown times last; between equals, the cheaper."""

    name: ClassVar[str] = "fastest"

    @override
    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        return ranked(
            given,
            candidates,
            branch="fastest",
            key=lambda c: (c.eta_ms is None, c.eta_ms or 0),
            reason=_reason,
        )

    @override
    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        return no_options(self.name, options)


def _reason(candidate: Candidate) -> str:
    if candidate.eta_ms is None:
        return "its time is not known"
    return f"expected after {candidate.eta_ms / 1000:.1f} s"
