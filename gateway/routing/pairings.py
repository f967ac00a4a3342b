"""What a model grants together only: the clip with what was left open set to fit, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal

from gateway.routing.excluded import Excluded
from gateway.routing.output import pick_seconds, pick_size, resolve_output
from gateway.spec import (
    ImageRole,
    ModelCard,
    Offer,
    Output,
    Pairing,
    PairingNeeds,
    PairingWhen,
    Resolution,
    VideoRequest,
)

ROLES: Mapping[ImageRole, str] = {
    "first_frame": "first frame",
    "last_frame": "last frame",
    "reference": "reference image",
}


def paired_output(request: VideoRequest, card: ModelCard, offer: Offer | None = None) -> Output:
    """The clip that the model would make, with all that its and the offer's pairings need.

    Raises:
        Excluded: ``pairing_unsupported``, and all that :func:`resolve_output` raises.
    """
    output = resolve_output(request, card, offer)
    rules = [(card.id, rule) for rule in card.pairings]
    rules += [(offer.id, rule) for rule in offer.pairings] if offer is not None else []
    for _, rule in rules:
        if _applies(rule.when, request, card, output):
            output = _yielding(request, card, offer, output, rule)
    for who, rule in rules:
        missing = list(_missing(rule, request, card, output))
        if missing:
            asked = " ".join(_asked(rule.when, request, card, output))
            raise Excluded("pairing_unsupported", f"{who} {asked} needs {' and '.join(missing)}")
    return output


def _applies(when: PairingWhen, request: VideoRequest, card: ModelCard, output: Output) -> bool:
    return (
        (not when.resolutions or card.resolution_of(output.size) in when.resolutions)
        and (when.audio is None or output.audio)
        and (not when.images or any(request.image(role) is not None for role in when.images))
    )


def _yielding(
    request: VideoRequest, card: ModelCard, offer: Offer | None, output: Output, rule: Pairing
) -> Output:
    """The clip with what was left open set as the pairing needs it; then a mere wish for sound gives way."""
    needs, change = rule.needs, dict[str, object]()
    seconds_open = request.seconds is None
    size_open = request.size is None and request.resolution is None
    sound_open = request.audio is True and card.audio == "optional"
    if seconds_open and needs.seconds and output.seconds not in needs.seconds:
        change["seconds"] = _seconds(request, card, offer, needs.seconds)
    if size_open and needs.resolutions and card.resolution_of(output.size) not in needs.resolutions:
        change["size"] = _size(request, card, offer, needs.resolutions)
    output = output.model_copy(update={name: value for name, value in change.items() if value is not None})
    if sound_open and any(_missing(rule, request, card, output)):
        output = output.model_copy(update={"audio": False})
    return output


def _seconds(
    request: VideoRequest, card: ModelCard, offer: Offer | None, allowed: Sequence[Decimal]
) -> Decimal | None:
    for seconds in allowed:
        with suppress(Excluded):
            return pick_seconds(request.model_copy(update={"seconds": seconds}), card, offer)
    return None


def _size(
    request: VideoRequest, card: ModelCard, offer: Offer | None, allowed: Sequence[Resolution]
) -> str | None:
    for resolution in allowed:
        with suppress(Excluded):
            return pick_size(request.model_copy(update={"resolution": resolution}), card, offer)
    return None


def _missing(rule: Pairing, request: VideoRequest, card: ModelCard, output: Output) -> Iterator[str]:
    """What is needed and not there, in words."""
    if not _applies(rule.when, request, card, output):
        return
    needs: PairingNeeds = rule.needs
    resolution = card.resolution_of(output.size)
    if needs.seconds and output.seconds not in needs.seconds:
        allowed = " or ".join(f"{seconds.normalize():f}" for seconds in needs.seconds)
        yield f"{allowed} s, not {output.seconds.normalize():f} s"
    if needs.resolutions and resolution not in needs.resolutions:
        yield f"{' or '.join(needs.resolutions)}, not {resolution or output.size}"
    if needs.audio is False and output.audio:
        yield "no sound"
    yield from (f"a {ROLES[role]}" for role in needs.images if request.image(role) is None)
    yield from (f"no {ROLES[role]}" for role in needs.without if request.image(role) is not None)


def _asked(when: PairingWhen, request: VideoRequest, card: ModelCard, output: Output) -> Iterator[str]:
    """What a pairing is about, in words."""
    if when.resolutions:
        yield f"at {card.resolution_of(output.size)}"
    if when.audio:
        yield "with sound"
    given = [f"a {ROLES[role]}" for role in when.images if request.image(role) is not None]
    if given:
        yield f"with {' and '.join(given)}"
