"""Usage into cost: the one module that does it. Exact decimals in, micro-USD out, rounded once, half-even."""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Literal

from gateway.spec import ModelCard, Money, Offer, Output, Preset, Price, Task, Usage, Value, parse_size

MICRO = Decimal(1_000_000)


class MissingPrice(Exception):
    """No price line in force covers this job. ``reason`` says what was found instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PriceTerms(Value):
    """The price a job was accepted at; stored with the attempt, so that a later list cannot change it.

    ``usd`` is per ``per`` units; ``hourly_usd`` is the device slot's rate for ``device_second``.
    """

    version: str
    unit: Literal["second", "clip", "token", "device_second"]
    usd: Money | None = None
    per: int = 1
    hourly_usd: Money | None = None
    tokens_per_second_divisor: int | None = None
    extra_frames: int = 0


def price_terms(
    card: ModelCard,
    offer: Offer,
    preset: Preset,
    output: Output,
    task: Task,
    today: date,
    hourly_usd: Decimal | None,
) -> PriceTerms:
    """Find the line of ``offer`` that prices this job today.

    Raises:
        MissingPrice: no line is in force, the only ones are guesses, or the device slot has no rate.
    """
    resolution = card.resolution_of(output.size)
    matching = [
        price
        for price in offer.prices
        if price.in_force(today)
        and (not price.resolutions or resolution in price.resolutions)
        and (price.audio is None or price.audio == output.audio)
        and (not price.presets or preset.name in price.presets)
        and (not price.tasks or task in price.tasks)
    ]
    sourced = [price for price in matching if price.source.confidence != "low"]
    if not sourced:
        raise MissingPrice("only an unverified price is known" if matching else "no price is known")
    price = max(sourced, key=lambda line: line.effective_from)
    if price.unit == "device_second" and hourly_usd is None:
        raise MissingPrice(f"pool {offer.pool!r} has no hourly rate")
    return _terms(price, hourly_usd if price.unit == "device_second" else None)


@lru_cache(maxsize=4096)
def _terms(price: Price, hourly_usd: Decimal | None) -> PriceTerms:
    """The terms of a line; the version is a digest, so that it changes whenever the line does."""
    digest = hashlib.sha256(price.model_dump_json().encode()).hexdigest()[:8]
    return PriceTerms(
        version=f"{price.effective_from.isoformat()}.{digest}",
        unit=price.unit,
        usd=price.usd,
        per=price.per,
        hourly_usd=hourly_usd,
        tokens_per_second_divisor=price.tokens_per_second_divisor,
        extra_frames=price.extra_frames,
    )


def cost(terms: PriceTerms, output: Output, usage: Usage) -> Decimal:
    """The exact cost in US dollars of what was used; where ``usage`` is silent, what was planned.

    Raises:
        MissingPrice: a device-second price without ``usage.device_ms``.
    """
    if terms.unit == "device_second":
        if usage.device_ms is None or terms.hourly_usd is None:
            raise MissingPrice("the device time is not known")
        return terms.hourly_usd * usage.device_ms / 3_600_000
    assert terms.usd is not None
    return terms.usd * _quantity(terms, output, usage) / terms.per


def _quantity(terms: PriceTerms, output: Output, usage: Usage) -> Decimal:
    seconds = output.seconds if usage.seconds is None else usage.seconds
    if terms.unit == "clip":
        return Decimal(1)
    if terms.unit == "second":
        return seconds
    if usage.tokens is not None:
        return Decimal(usage.tokens)
    assert terms.tokens_per_second_divisor is not None
    width, height = parse_size(output.size)
    frames = output.fps * seconds + terms.extra_frames
    return (width * height * frames / terms.tokens_per_second_divisor).to_integral_value(ROUND_CEILING)


def reference_ms(card: ModelCard, preset: Preset, output: Output) -> int | None:
    """The card's figure for how long this clip takes, in ms, scaled by its frames; None without one.

    The figures are for the card's default fps.
    """
    resolution = card.resolution_of(output.size)
    for time in preset.times:
        if time.resolution in (None, resolution):
            frames = output.seconds * output.fps / (time.clip_seconds * card.fps.default)
            return int(time.seconds * frames * 1000)
    return None


def to_micro_usd(usd: Decimal) -> int:
    """Dollars to whole micro-dollars, half-even: the only rounding of money there is."""
    return int((usd * MICRO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def from_micro_usd(micro: int) -> Decimal:
    """Micro-dollars to exact dollars."""
    return Decimal(micro) / MICRO
