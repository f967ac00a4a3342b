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

    No tie may lead to another model than the final's own slot chooses, but one: where that model takes no
    images at all, the preview's frames lead to the slot's choice for images; its last frame may then not lead
    to yet another.
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
    if plain.chosen is None or plain.chosen.model == chosen.model:
        return True
    if way.continuity not in ("first_last_frame", "first_frame") or not _text_only(plain.chosen.model, way):
        return False
    instead = by_first.chosen if by_first is not None else None
    return instead is None or instead.model == chosen.model


def _text_only(model: str, way: Tied) -> bool:
    return any(left.model == model and left.code == "task_unsupported" for left in way.plan.dropped)


def _losses(plan: Plan) -> frozenset[str]:
    if plan.chosen is None:
        return LOSSES
    return LOSSES & {note.code for note in (*plan.notes, *plan.chosen.notes)}
