"""The clip a model would make for a request: every default filled in, or the reason why it cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from itertools import product

from gateway.routing.excluded import Excluded
from gateway.spec import (
    Durations,
    ModelCard,
    Offer,
    OfferLimits,
    Output,
    Resolution,
    SizeBounds,
    VideoRequest,
    parse_size,
)

RATIO_TOLERANCE = math.log(1.04)
"""Sizes are rounded to a model's own step: 832x480 is a 16:9 clip. 5:4 and 4:3 stay apart."""

SHORT_SIDE: Mapping[Resolution, int] = {
    "360p": 360,
    "480p": 480,
    "540p": 540,
    "720p": 720,
    "1080p": 1080,
    "4k": 2160,
}

NO_LIMITS = OfferLimits()

Sets = Mapping[Resolution, tuple[str, ...]]


def resolve_output(request: VideoRequest, card: ModelCard, offer: Offer | None = None) -> Output:
    """The clip that the model would make, within the limits of ``offer`` if one is given.

    Raises:
        Excluded: the size, resolution, aspect ratio or duration cannot be had.
    """
    fps = card.fps.default
    if request.fps is not None and card.fps.min <= request.fps <= card.fps.max:
        fps = request.fps
    return Output(
        size=pick_size(request, card, offer),
        seconds=pick_seconds(request, card, offer),
        fps=fps,
        audio=makes_audio(card, offer) and (card.audio == "always" or bool(request.audio)),
    )


def makes_audio(card: ModelCard, offer: Offer | None = None) -> bool:
    """True if the model makes sound and the offer, if one is given, passes it on."""
    return card.audio != "never" and _limits(offer).audio != "never"


def pick_seconds(request: VideoRequest, card: ModelCard, offer: Offer | None = None) -> Decimal:
    """The asked seconds, else the card's default, else (where the offer lacks that) the offer's.

    Raises:
        Excluded: ``duration_unsupported``.
    """
    narrower = _limits(offer).durations
    seconds = request.seconds
    if seconds is None:
        seconds = card.durations.default
        if narrower is not None and not narrower.allows(seconds):
            seconds = narrower.default
    _check_seconds(seconds, card.id, card.durations)
    if offer is not None and narrower is not None:
        _check_seconds(seconds, offer.id, narrower)
    return seconds


def _check_seconds(seconds: Decimal, who: str, durations: Durations) -> None:
    if not durations.allows(seconds):
        raise Excluded("duration_unsupported", f"{who} makes {durations.describe()}, not {seconds:f} s")


def _limits(offer: Offer | None) -> OfferLimits:
    return NO_LIMITS if offer is None else offer.limits


def pick_size(request: VideoRequest, card: ModelCard, offer: Offer | None = None) -> str:
    """The asked size, else the nearest to what was asked: resolution, aspect ratio, the first frame's shape.

    Raises:
        Excluded: ``size_unsupported``, ``resolution_unsupported`` or ``aspect_ratio_unsupported``.
    """
    if isinstance(card.sizes, SizeBounds):
        return _size_in_bounds(request, card, card.sizes)
    if offer is None or not offer.limits.resolutions:
        return _listed_size(request, card, card.sizes, card.id)
    sets = {name: sizes for name, sizes in card.sizes.items() if name in offer.limits.resolutions}
    return _listed_size(request, card, sets, offer.id)


def _listed_size(request: VideoRequest, card: ModelCard, sets: Sets, who: str) -> str:
    if request.size is not None and not any(request.size in sizes for sizes in sets.values()):
        raise Excluded("size_unsupported", f"{who} makes {_words(sets)}, not {request.size}")
    if request.resolution is not None:
        if request.resolution not in sets:
            raise Excluded(
                "resolution_unsupported", f"{who} makes {', '.join(sets)}, not {request.resolution}"
            )
        sets = {request.resolution: sets[request.resolution]}
    if request.aspect_ratio is not None:
        sets = _of_ratio(request.aspect_ratio, sets, who)
    if request.size is not None:
        if any(request.size in sizes for sizes in sets.values()):
            return request.size
        raise Excluded("size_unsupported", f"what else was asked allows {_words(sets)}, not {request.size}")
    return _nearest(request, card, sets, who)


def _of_ratio(asked: str, sets: Sets, who: str) -> Sets:
    ratio = _ratio(asked, ":")
    fitting = {
        name: tuple(size for size in sizes if _apart(_ratio(size), ratio) < RATIO_TOLERANCE)
        for name, sizes in sets.items()
    }
    fitting = {name: sizes for name, sizes in fitting.items() if sizes}
    if not fitting:
        raise Excluded("aspect_ratio_unsupported", f"{who} makes {_words(sets)}, none is {asked}")
    return fitting


def _nearest(request: VideoRequest, card: ModelCard, sets: Sets, who: str) -> str:
    """The size of the wanted shape in the default size's resolution, or in the first that can be had."""
    usual = card.resolution_of(card.default_size)
    sizes = sets[usual] if usual is not None and usual in sets else next(iter(sets.values()), ())
    if not sizes:
        raise Excluded("resolution_unsupported", f"{who} passes on no resolution that {card.id} makes")
    ratio = _target_ratio(request, card)
    if card.default_size in sizes and ratio == _ratio(card.default_size):
        return card.default_size
    return min(sizes, key=lambda size: _apart(_ratio(size), ratio))


def _target_ratio(request: VideoRequest, card: ModelCard) -> float:
    if request.aspect_ratio is not None:
        return _ratio(request.aspect_ratio, ":")
    frame = request.image("first_frame")
    return frame.width / frame.height if frame is not None else _ratio(card.default_size)


def _size_in_bounds(request: VideoRequest, card: ModelCard, bounds: SizeBounds) -> str:
    size = request.size or _fit(request, card, bounds)
    allowed = f"{card.id} makes sides of {bounds.min} to {bounds.max} px in steps of {bounds.step}"
    if not bounds.allows(size):
        raise Excluded("size_unsupported", f"{allowed}, not {size}")
    width, height = parse_size(size)
    if request.resolution is not None and min(width, height) != _short_side(request.resolution, bounds):
        raise Excluded("resolution_unsupported", f"{allowed}, not {request.resolution}")
    if request.aspect_ratio is not None:
        ratio = _ratio(request.aspect_ratio, ":")
        if abs(width - height * ratio) > bounds.step:
            raise Excluded("aspect_ratio_unsupported", f"{allowed}, none is {request.aspect_ratio}")
    return size


def _short_side(resolution: Resolution, bounds: SizeBounds) -> int:
    return SHORT_SIDE[resolution] // bounds.step * bounds.step


def _fit(request: VideoRequest, card: ModelCard, bounds: SizeBounds) -> str:
    """The size within bounds whose shape is nearest, at the asked resolution or the default size's area."""
    ratio = _target_ratio(request, card)
    width, height = parse_size(card.default_size)
    if request.resolution is None:
        if ratio == width / height:
            return card.default_size
        tall = math.sqrt(width * height / ratio)
    else:
        tall = _short_side(request.resolution, bounds) / min(ratio, 1.0)
    pairs = product(_steps(tall * ratio, bounds), _steps(tall, bounds))
    best = min(pairs, key=lambda pair: (_apart(pair[0] / pair[1], ratio), abs(pair[1] - tall)))
    return f"{best[0]}x{best[1]}"


def _steps(side: float, bounds: SizeBounds) -> set[int]:
    """The multiples of the step next to ``side``, moved into the bounds."""
    step = bounds.step
    lowest = math.ceil(bounds.min / step) * step
    highest = bounds.max // step * step
    around = (math.floor(side / step) * step, math.ceil(side / step) * step)
    return {min(max(value, lowest), highest) for value in around}


@lru_cache(maxsize=4096)
def _ratio(text: str, between: str = "x") -> float:
    width, height = text.split(between)
    return int(width) / int(height)


def _apart(one: float, other: float) -> float:
    return abs(math.log(one / other))


def _words(sets: Sets) -> str:
    return ", ".join(size for sizes in sets.values() for size in sizes)
