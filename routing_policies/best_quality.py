"""The best published score first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from typing_extensions import override

from gateway.spec import Candidate, Ordered, Policy, PolicyInput
from routing_policies._rank import comparable_scores, no_options, ranked


class BestQuality(Policy):
    """By score on the scale that most of the models share; models without one there come last.

    A score speaks of a model at full settings, so presets that are ``fast`` or stop early follow the others;
    between equals, the cheaper.
    """

    name: ClassVar[str] = "best_quality"

    @override
    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        scale, scores = comparable_scores(given, candidates)

        def key(candidate: Candidate) -> tuple[bool, Decimal, bool]:
            score = scores.get(candidate.model)
            return score is None, -(score or Decimal(0)), _below_full(given, candidate)

        def reason(candidate: Candidate) -> str:
            score = scores.get(candidate.model)
            return f"scores {score:f} on {scale}" if score is not None else "has no comparable score"

        return ranked(given, candidates, branch="best_quality", key=key, reason=reason)

    @override
    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        return no_options(self.name, options)


def _below_full(given: PolicyInput, candidate: Candidate) -> bool:
    offers = given.cards[candidate.model].offers
    presets = (offer.preset(candidate.preset) for offer in offers if offer.id == candidate.offer)
    return any(preset is not None and (preset.fast or preset.finished_by) for preset in presets)
