"""The product's opening rule: what a request is for decides which list of models it meets.

The first rule that applies names the branch::

    preview     mode is preview                    the local models, fast presets first
    basic       the tier is the lowest             as above
    audio       sound is wished for or required    models that make sound
    premium     quality is premium                 the best models
    default     otherwise                          the local models at full settings

When nothing of a slot can serve the request, the next slot that applies follows, and in the end the default
slot, with a note that says what was lost. A wish for sound does not lead out of preview and basic; required
sound does. The branch stays the rule that applied; each candidate's reason names the slot it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError
from typing_extensions import override

from gateway.spec import Candidate, Note, Offer, Ordered, Policy, PolicyInput, Preset
from routing_policies._rank import because, problems
from routing_policies._slots import Entry, Options, SlotName

WHY: Mapping[SlotName, str] = {
    "preview": "the mode is preview",
    "basic": "the tier is the lowest",
    "audio": "sound is asked for",
    "premium": "premium quality is asked for",
    "default": "nothing asks for another slot",
}


class Tiered(Policy):
    """The default policy. A named model meets no slot: its presets come in the card's order."""

    name: ClassVar[str] = "tiered"

    @override
    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        if given.request.model != "auto":
            return _order_named(given, candidates)
        options = Options.model_validate(dict(given.options))
        chain = _chain(given)
        for slot in chain:
            found = _listed(given, options.entries(slot, given.request.task), slot, chain[0], candidates)
            if found:
                notes = tuple(_notes(given, chain[0], slot, found[0]))
                return Ordered(candidates=found, branch=chain[0], notes=notes)
        return Ordered(candidates=(), branch=chain[0])

    @override
    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        try:
            given = Options.model_validate(dict(options))
        except ValidationError as invalid:
            return problems(invalid)
        return [
            f"slots.{slot}.{task}.{place}: no model is named {entry.model!r}"
            for slot, lists in given.slots.items()
            for task, entries in lists.items()
            for place, entry in enumerate(entries)
            if entry.model not in models
        ]


def _chain(given: PolicyInput) -> tuple[SlotName, ...]:
    """The slots that apply, in the order of the opening rule; the default slot closes."""
    request = given.request
    required: tuple[SlotName, ...] = ("audio",) if request.audio == "required" else ()
    if request.mode == "preview":
        return ("preview", *required, "default")
    if given.tier == given.tiers[0]:
        return ("basic", *required, "default")
    wished: tuple[SlotName, ...] = ("audio",) if request.audio else ()
    premium: tuple[SlotName, ...] = ("premium",) if request.quality == "premium" else ()
    return (*wished, *premium, "default")


def _listed(
    given: PolicyInput,
    entries: Sequence[Entry],
    slot: SlotName,
    branch: SlotName,
    candidates: Sequence[Candidate],
) -> tuple[Candidate, ...]:
    """The slot's entries that can serve the request, in the slot's order."""
    why = WHY[branch] if slot == branch else f"the {branch} slot cannot serve this"
    found: dict[tuple[str, str], Candidate] = {}
    for place, entry in enumerate(entries, 1):
        own = [c for c in candidates if c.model == entry.model and entry.preset in (None, c.preset)]
        reason = f"choice {place} of {len(entries)} in the {slot} slot: {why}"
        for candidate in sorted(own, key=lambda c: _place(given, c)):
            found.setdefault((candidate.offer, candidate.preset), because(candidate, reason))
    return tuple(found.values())


def _notes(given: PolicyInput, branch: SlotName, slot: SlotName, first: Candidate) -> Iterator[Note]:
    """What was lost on the way from the rule that applied to the slot that serves."""
    fell = f"no model of the {branch} slot can serve this; the {slot} slot follows"
    if branch != slot and branch in ("preview", "basic"):
        yield Note(code="slot_exhausted", detail=fell)
    if branch == "audio" and not first.output.audio:
        yield Note(code="audio_dropped", detail=fell)
    if given.request.quality == "premium" and slot not in ("premium", "audio"):
        detail = fell if branch != slot else f"{WHY[slot]}: the {slot} slot comes before the premium slot"
        yield Note(code="quality_lowered", detail=detail)


def _order_named(given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
    preview = given.request.mode == "preview"

    def place(candidate: Candidate) -> tuple[Any, ...]:
        return preview and not _preset(given, candidate).fast, *_place(given, candidate)

    ordered = sorted(candidates, key=place)
    reason = "the named model" + (", fast presets first: the mode is preview" if preview else "")
    return Ordered(candidates=tuple(because(c, reason) for c in ordered), branch="named")


def _place(given: PolicyInput, candidate: Candidate) -> tuple[Any, ...]:
    """In the card's order of presets; where several offers have one, the cheapest, then the card's order."""
    place, offer = _offer(given, candidate)
    return offer.presets.index(_preset(given, candidate)), candidate.estimate_usd, place


def _preset(given: PolicyInput, candidate: Candidate) -> Preset:
    return next(preset for preset in _offer(given, candidate)[1].presets if preset.name == candidate.preset)


def _offer(given: PolicyInput, candidate: Candidate) -> tuple[int, Offer]:
    offers = enumerate(given.cards[candidate.model].offers)
    return next((place, offer) for place, offer in offers if offer.id == candidate.offer)
