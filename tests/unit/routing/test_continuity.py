"""What a final keeps of its preview: the strongest tie that is as good as the plain request."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.routing.continuity import Continuity, Tied, strongest
from gateway.spec import Candidate, Dropped, Note, Output, Plan, VideoRequest

OUTPUT = Output(size="64x64", seconds=1, fps=8, audio=False)  # type: ignore[arg-type]  # an int will do


def tied(
    continuity: Continuity, model: str | None, *notes: str, dropped: tuple[str, str] | None = None
) -> Tied:
    chosen = None if model is None else _candidate(model)
    plan = Plan(
        chosen=chosen,
        candidates=(chosen,) if chosen else (),
        dropped=() if dropped is None else (Dropped(model=dropped[0], code=dropped[1], detail=""),),
        notes=tuple(Note(code=code, detail="") for code in notes),
        policy="tiered",
        branch="default",
    )
    return Tied(continuity, VideoRequest(prompt=continuity), plan)


def _candidate(model: str) -> Candidate:
    given: dict[str, Any] = {"estimate_usd": "1", "price_version": "1", "output": OUTPUT}
    return Candidate(model=model, offer=f"a/{model}", adapter="a", account="default", preset="p", **given)


PLAIN = tied("prompt_only", "one")


@pytest.mark.parametrize("strong", ["native_draft", "resumed_latents", "first_last_frame", "same_seed"])
def test_the_first_that_leads_to_the_slots_own_model_is_taken(strong: Continuity) -> None:
    assert strongest([tied(strong, "one"), tied("same_seed", "one")], PLAIN).continuity == strong
    assert strongest([tied(strong, None), tied(strong, "two")], PLAIN) == PLAIN


def test_no_tie_is_worth_a_loss_that_the_plain_request_is_spared() -> None:
    silent = tied("resumed_latents", "one", "audio_dropped")
    assert strongest([silent], PLAIN) == PLAIN
    assert strongest([silent], tied("prompt_only", "one", "audio_dropped")).continuity == "resumed_latents"
    assert strongest([tied("first_frame", "one", "retiring")], PLAIN).continuity == "first_frame"


def test_frames_lead_to_another_model_only_from_one_that_takes_none() -> None:
    text_only = ("one", "task_unsupported")
    unsuitable = tied("first_frame", "two", dropped=("one", "image_unsuitable"))
    assert strongest([unsuitable], PLAIN) == PLAIN, "its own model would do, but not with this picture"
    fitting = tied("first_frame", "two", dropped=text_only)
    assert strongest([fitting], PLAIN).plan.chosen == fitting.plan.chosen
    both = tied("first_last_frame", "two", dropped=text_only)
    assert strongest([both, fitting], PLAIN).continuity == "first_last_frame"
    elsewhere = tied("first_last_frame", "three", dropped=text_only)
    assert strongest([elsewhere, fitting], PLAIN).continuity == "first_frame"


def test_where_the_plain_request_cannot_be_served_a_tied_one_may() -> None:
    nothing = tied("prompt_only", None)
    assert strongest([tied("first_frame", "two")], nothing).continuity == "first_frame"
    assert strongest([], nothing) == nothing
