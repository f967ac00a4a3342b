"""Price, speed and quality, weighed against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator
from typing_extensions import override

from gateway.spec import Candidate, Ordered, Policy, PolicyInput, Value
from routing_policies._rank import comparable_scores, problems, ranked

Measure = Callable[[Candidate], Decimal | None]


class Weights(Value):
    """How much each measure counts; only their proportions matter."""

    price: Decimal = Field(default=Decimal(1), ge=0)
    speed: Decimal = Field(default=Decimal(1), ge=0)
    quality: Decimal = Field(default=Decimal(1), ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.price + self.speed + self.quality:
            raise ValueError("at least one weight must be above 0")
        return self


class Weighted(Policy):
    """By the weighted mean of three marks, each from 0 (the worst, or not known) to 1 (the best)."""

    name: ClassVar[str] = "weighted"

    @override
    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        weights = Weights.model_validate(dict(given.options))
        _, scores = comparable_scores(given, candidates)
        price = _marks(candidates, lambda c: -c.estimate_usd)
        speed = _marks(candidates, lambda c: None if c.eta_ms is None else Decimal(-c.eta_ms))
        quality = _marks(candidates, lambda c: scores.get(c.model))
        whole = weights.price + weights.speed + weights.quality

        def mark(c: Candidate) -> Decimal:
            at = (c.offer, c.preset)
            total = weights.price * price[at] + weights.speed * speed[at] + weights.quality * quality[at]
            return total / whole

        def reason(c: Candidate) -> str:
            at = (c.offer, c.preset)
            return (
                f"{mark(c):.2f} of 1: price {price[at]:.2f}, speed {speed[at]:.2f}, quality {quality[at]:.2f}"
            )

        return ranked(given, candidates, branch="weighted", key=lambda c: (-mark(c),), reason=reason)

    @override
    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        try:
            Weights.model_validate(dict(options))
        except ValidationError as invalid:
            return problems(invalid)
        return []


def _marks(candidates: Sequence[Candidate], measure: Measure) -> dict[tuple[str, str], Decimal]:
    """Each candidate's place between the lowest measure (0) and the highest (1); unknown is 0."""
    values = {(c.offer, c.preset): measure(c) for c in candidates}
    known = [value for value in values.values() if value is not None]
    low, high = (min(known), max(known)) if known else (Decimal(0), Decimal(0))
    if low == high:
        return {at: Decimal(value is not None) for at, value in values.items()}
    return {at: Decimal(0) if value is None else (value - low) / (high - low) for at, value in values.items()}
