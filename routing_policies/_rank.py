"""What the policies share: a stable ranking, comparable scores, and problems in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from gateway.spec import Candidate, Ordered, PolicyInput


def ranked(
    given: PolicyInput,
    candidates: Sequence[Candidate],
    branch: str,
    key: Callable[[Candidate], tuple[Any, ...]],
    reason: Callable[[Candidate], str],
) -> Ordered:
    """Sort by ``key``; ties by price, then by name; test weights last, whatever their key."""

    def place(candidate: Candidate) -> tuple[Any, ...]:
        last = given.cards[candidate.model].test_weights
        return last, *key(candidate), candidate.estimate_usd, candidate.offer, candidate.preset

    return Ordered(
        candidates=tuple(because(c, reason(c)) for c in sorted(candidates, key=place)), branch=branch
    )


def because(candidate: Candidate, reason: str) -> Candidate:
    """The candidate with its reason filled in."""
    return candidate.model_copy(update={"reason": reason})


def comparable_scores(
    given: PolicyInput, candidates: Sequence[Candidate]
) -> tuple[str | None, Mapping[str, Decimal]]:
    """The scale most of these models are scored on, and each model's score there; others have none."""
    scores = {c.model: score for c in candidates if (score := given.cards[c.model].quality) is not None}
    if not scores:
        return None, {}
    count = Counter(score.scale for score in scores.values())
    scale = min(count, key=lambda name: (-count[name], name))
    return scale, {model: score.score for model, score in scores.items() if score.scale == scale}


def no_options(policy: str, options: Mapping[str, Any]) -> list[str]:
    """Problems with the section of a policy that takes no options."""
    return [f"{policy} takes no options; found {', '.join(sorted(options))}"] if options else []


def problems(invalid: ValidationError) -> list[str]:
    """What pydantic found, one line each."""
    return [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in invalid.errors()]
