"""What a final video keeps of its preview: the strongest tie that both sides allow. Pure, as planning is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from gateway.spec import Plan, VideoRequest

Continuity = Literal[
    "native_draft", "resumed_latents", "first_last_frame", "first_frame", "same_seed", "prompt_only"
]
"""From the strongest down: the provider finishes its own draft; our own engine goes on from the state that it
kept; the preview's first and last frame, or its first alone, condition the final; the same model draws from
the same seed; nothing but the prompt."""

LOSSES = frozenset({"audio_dropped", "quality_lowered", "slot_exhausted", "test_weights"})
"""Notes that say that less was got than was asked for: no tie is worth one that a plain request is spared."""


class Tied(NamedTuple):
    """One way to ask for the final, and how it would be served."""

    continuity: Continuity
    request: VideoRequest
    plan: Plan


def strongest(ways: Sequence[Tied], plain: Tied) -> Tied:
    """The first of ``ways``, strongest first, that is as good as ``plain``, which ties nothing.

    A draft and kept latents are gone on from only where the final's own slot would choose that model too. The
    frames of a preview may lead to another model, the one for images; asking for its last frame as well may
    not lead to yet another.
    """
    by_first = next((way.plan for way in ways if way.continuity == "first_frame"), None)
    for way in ways:
        if _serves(way, plain.plan, by_first):
            return way
    return plain


def _serves(way: Tied, plain: Plan, by_first: Plan | None) -> bool:
    chosen = way.plan.chosen
    if chosen is None or not _losses(way.plan) <= _losses(plain):
        return False
    if way.continuity in ("native_draft", "resumed_latents", "same_seed"):
        return plain.chosen is None or plain.chosen.model == chosen.model
    if way.continuity == "first_last_frame" and by_first is not None and by_first.chosen is not None:
        return by_first.chosen.model == chosen.model
    return True


def _losses(plan: Plan) -> frozenset[str]:
    if plan.chosen is None:
        return LOSSES
    return LOSSES & {note.code for note in (*plan.notes, *plan.chosen.notes)}
