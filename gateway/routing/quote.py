"""What a way to serve the request would cost, and by when it would be done."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from gateway.catalog.prices import (
    MissingPrice,
    cost,
    from_micro_usd,
    price_terms,
    reference_ms,
    to_micro_usd,
)
from gateway.routing.excluded import Excluded
from gateway.routing.facts import Facts
from gateway.spec import ModelCard, Offer, Output, Preset, Usage, VideoRequest

ENOUGH_RENDERS = 3
"""From so many measured renders on, their median counts for more than the card's reference time."""

LEAST_LEFT = 20
"""A render that goes on from a preview is expected to take at least the whole one by this: it is still to be
decoded, and two estimates are subtracted."""

NOTHING_USED_YET = Usage()


class Quote(NamedTuple):
    """``estimate_usd`` is rounded to micro-dollars; ``eta_ms`` is None where nothing is known."""

    estimate_usd: Decimal
    price_version: str
    eta_ms: int | None


class _Effort(NamedTuple):
    """What a render takes, from its start to its end, and what that costs."""

    own_ms: int | None
    micro_usd: int
    price_version: str

    def after(self, done: _Effort) -> _Effort:
        """What is left of it once ``done`` is."""
        own_ms = None if self.own_ms is None else _left(self.own_ms, done.own_ms or 0)
        return self._replace(own_ms=own_ms, micro_usd=_left(self.micro_usd, done.micro_usd))


def make_quote(
    request: VideoRequest, facts: Facts, card: ModelCard, offer: Offer, preset: Preset, output: Output
) -> Quote:
    """Price and time one way, and hold them against what the caller and the tenant allow.

    Raises:
        Excluded: ``no_price``, ``no_estimate``, ``over_max_cost``, ``over_budget`` or ``over_deadline``.
    """
    effort = _effort(request, facts, card, offer, preset, output)
    begun = None if request.continues is None else offer.preset(request.continues.done_preset)
    if begun is not None and offer.pool is not None:  # a provider bills the final of its own draft in full
        effort = effort.after(_effort(request, facts, card, offer, begun, output))
    own_ms = effort.own_ms
    quote = Quote(
        estimate_usd=from_micro_usd(effort.micro_usd),
        price_version=effort.price_version,
        eta_ms=own_ms if own_ms is None else own_ms * (1 + _turns_before(facts, offer)),
    )
    _check_money(request, facts, quote.estimate_usd, effort.micro_usd)
    _check_deadline(request, quote.eta_ms)
    return quote


def _effort(
    request: VideoRequest, facts: Facts, card: ModelCard, offer: Offer, preset: Preset, output: Output
) -> _Effort:
    pool = facts.pools.get(offer.pool) if offer.pool is not None else None
    own_ms = _own_ms(facts, card, offer, preset, output)
    try:
        terms = price_terms(
            card, offer, preset, output, request.task, facts.today, pool.hourly_usd if pool else None
        )
        if terms.unit == "device_second" and own_ms is None:
            raise Excluded("no_estimate", f"{offer.id} has neither a measured nor a reference time")
        usage = Usage(device_ms=own_ms) if terms.unit == "device_second" else NOTHING_USED_YET
        micro_usd = to_micro_usd(cost(terms, output, usage))
    except MissingPrice as missing:
        raise Excluded("no_price", f"{offer.id}: {missing.reason}") from missing
    return _Effort(own_ms=own_ms, micro_usd=micro_usd, price_version=terms.version)


def _left(whole: int, done: int) -> int:
    return max(whole - done, -(-whole // LEAST_LEFT))


def _own_ms(facts: Facts, card: ModelCard, offer: Offer, preset: Preset, output: Output) -> int | None:
    timing = facts.timings.get((offer.id, preset.name, output.size))
    if timing is not None and timing.count >= ENOUGH_RENDERS:
        return int(timing.ms_per_second * output.seconds)
    return reference_ms(card, preset, output)


def _turns_before(facts: Facts, offer: Offer) -> int:
    """How many renders of a local slot come first; a remote provider's queue is part of its own time."""
    if offer.pool is None or facts.adapters[offer.adapter].kind == "remote":
        return 0
    pool = facts.pools[offer.pool]
    return -(-(pool.waiting + pool.running) // pool.slots)


def _check_money(request: VideoRequest, facts: Facts, usd: Decimal, micro_usd: int) -> None:
    if request.max_cost is not None and usd > request.max_cost:
        raise Excluded("over_max_cost", f"estimated at ${usd:f}; max_cost is ${request.max_cost:f}")
    left = facts.budget_left_micro_usd
    if left is not None and micro_usd > left:
        raise Excluded("over_budget", f"estimated at ${usd:f}; the budget has ${from_micro_usd(left):f} left")


def _check_deadline(request: VideoRequest, eta_ms: int | None) -> None:
    if request.deadline is not None and eta_ms is not None and eta_ms > request.deadline * 1000:
        raise Excluded(
            "over_deadline", f"expected after {eta_ms / 1000:.0f} s; the deadline is {request.deadline} s"
        )
