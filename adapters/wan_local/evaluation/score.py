"""What verdicts add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.wan_local.evaluation.oracle import Verdict

ASKED = ("colour", "shape", "motion", "background", "all")

_Z = 1.959964  # 95% of a normal distribution lie within that many standard deviations


@dataclass(frozen=True)
class Share:
    """How many of how many were right."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.right / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence: Wilson's score interval (1927), which holds near 0 and 1, too."""
        spread = _Z**2 / self.of
        middle = (self.value + spread / 2) / (1 + spread)
        half = math.sqrt(self.value * (1 - self.value) * spread + spread**2 / 4) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)


def add_up(verdicts: Sequence[Verdict]) -> dict[str, Share]:
    """The share of right ones by what was asked; there is at least one verdict."""
    return {name: Share(sum(getattr(one, name) for one in verdicts), len(verdicts)) for name in ASKED}
