"""What a caller should know about a candidate: wishes it does not grant, and an end announced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from gateway.routing.output import makes_audio
from gateway.spec import Lifecycle, ModelCard, Note, Offer, Output, VideoRequest

SOON = timedelta(days=30)
"""An end as near as this is told to the operator, too."""


def candidate_notes(
    request: VideoRequest, card: ModelCard, offer: Offer, output: Output, today: date
) -> tuple[Note, ...]:
    """Every note on this way of serving the request."""
    return (
        *_unheard_knobs(request, card, output),
        *_long_prompt(request, card),
        *_audio(request, card, offer, output),
        *_retiring(card.id, card.lifecycle, today),
        *_retiring(offer.id, offer.lifecycle, today),
        *_test_weights(card),
    )


def _unheard_knobs(request: VideoRequest, card: ModelCard, output: Output) -> Iterator[Note]:
    if request.fps not in (None, output.fps):
        fps = card.fps
        can = f"{fps.min} to {fps.max}" if fps.min < fps.max else f"{fps.default}"
        yield Note(code="fps_ignored", detail=f"{card.id} makes {can} fps: {output.fps}, not {request.fps}")
    if request.seed is not None and not card.seed:
        yield Note(code="seed_ignored", detail=f"{card.id} takes no seed")
    if request.negative_prompt is not None and not card.negative_prompt:
        yield Note(code="negative_prompt_ignored", detail=f"{card.id} takes no negative prompt")


def _long_prompt(request: VideoRequest, card: ModelCard) -> Iterator[Note]:
    most, length = card.prompt_limit.characters, len(request.prompt)
    if most is not None and length > most:
        detail = f"{card.id} reads the first {most:,} characters of a prompt; this one has {length:,}"
        yield Note(code="prompt_truncated", detail=detail)


def _audio(request: VideoRequest, card: ModelCard, offer: Offer, output: Output) -> Iterator[Note]:
    if request.audio is True and not output.audio:
        who = offer.id if makes_audio(card) and not makes_audio(card, offer) else card.id
        why = " with what else was asked for" if makes_audio(card, offer) else ""
        detail = f"{who} makes no sound{why}; ask for audio: required to insist"
        yield Note(code="audio_dropped", detail=detail)
    if request.audio is False and output.audio:
        yield Note(code="audio_kept", detail=f"{card.id} always makes sound")


def retires_soon(lifecycle: Lifecycle, today: date) -> str | None:
    """When it ends, in words, if that is known and within ``SOON``, or past; else None."""
    end = lifecycle.retired_on or lifecycle.retires_not_before
    if end is None or end - today > SOON or not _known(lifecycle, end, today):
        return None
    return _when(lifecycle)


def _retiring(who: str, lifecycle: Lifecycle, today: date) -> Iterator[Note]:
    """Every end that is known, however far off."""
    end = lifecycle.retired_on or lifecycle.retires_not_before or lifecycle.deprecated
    if end is None or not _known(lifecycle, end, today):
        return
    successor = f"; its successor is {lifecycle.successor}" if lifecycle.successor else ""
    if lifecycle.retired_on is None and lifecycle.retires_not_before is None:
        yield Note(code="deprecated", detail=f"{who} is deprecated from {end} on{successor}")
    else:
        yield Note(code="retiring", detail=f"{who} retires {_when(lifecycle)}{successor}")


def _known(lifecycle: Lifecycle, end: date, today: date) -> bool:
    return lifecycle.announced is None or lifecycle.announced <= today or today >= end


def _when(lifecycle: Lifecycle) -> str:
    if lifecycle.retired_on is not None:
        return f"on {lifecycle.retired_on}"
    return f"on {lifecycle.retires_not_before} or later"


def _test_weights(card: ModelCard) -> Iterator[Note]:
    if card.test_weights:
        yield Note(
            code="test_weights",
            detail="test weights stand in for a real model: a working path, not its pictures",
        )
