"""The opening rule, branch by branch: text and image, adapters present and absent, at three dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest

from gateway.routing import plan
from gateway.spec import Plan, Unready

DATES = (date(2026, 9, 1), date(2026, 10, 1), date(2026, 12, 1))
"""Before OpenAI's video API closed, before Veo 3.1 left the Gemini API, and after both."""

TASKS = ("text-to-video", "image-to-video")
A14B = {"text-to-video": "wan-2.2-t2v-a14b", "image-to-video": "wan-2.2-i2v-a14b"}
NANO = {"text-to-video": "wan-2.2-nano-t2v", "image-to-video": "wan-2.2-nano-i2v"}
HOSTED = {"text-to-video": "wan-2.2-t2v-plus", "image-to-video": "wan-2.2-i2v-plus"}


@dataclass(frozen=True)
class Branch:
    """One rule: the request that meets it, and who serves when these adapters are absent, in turn."""

    name: str
    ask: dict[str, Any]
    steps: tuple[tuple[tuple[str, ...], str | None, tuple[str, ...]], ...]


# Each step: adapters absent, the expected model ("local" and "hosted" depend on the task), the plan's notes.
BRANCHES = (
    Branch(
        "preview",
        {"mode": "preview", "audio": True, "quality": "premium"},
        (
            ((), "local", ("quality_lowered",)),
            (("veo", "kling", "seedance"), "local", ("quality_lowered",)),
            (("wan_local",), "hosted", ("slot_exhausted", "quality_lowered")),
        ),
    ),
    Branch(
        "basic",
        {"tier": "basic"},
        (((), "local", ()), (("wan_local",), "hosted", ("slot_exhausted",))),
    ),
    Branch(
        "audio",
        {"audio": True, "quality": "premium"},
        (
            ((), "veo-3.1", ()),
            (("veo",), "gemini-omni-1.1", ()),
            (("veo", "gemini_omni"), "kling-3.0-omni", ()),
            (("veo", "gemini_omni", "kling"), "seedance-1.5-pro", ()),
            (
                ("veo", "gemini_omni", "kling", "seedance"),
                "local",
                ("audio_dropped", "quality_lowered"),
            ),
        ),
    ),
    Branch(
        "premium",
        {"quality": "premium"},
        (
            ((), "kling-3.0-omni", ()),
            (("kling",), "veo-3.1", ()),
            (("kling", "veo"), "local", ("quality_lowered",)),
        ),
    ),
    Branch("default", {}, (((), "local", ()), (("wan_local",), "hosted", ()))),
)

CASES = [
    pytest.param(branch, task, today, id=f"{branch.name}-{task}-{today}")
    for branch in BRANCHES
    for task in TASKS
    for today in DATES
]


def ask(world, branch: Branch, task: str):
    images = [world.image()] if task == "image-to-video" else []
    return world.request(**branch.ask, images=images)


def reasons(decided: Plan) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for dropped in decided.dropped:
        found.setdefault(dropped.model, set()).add(dropped.code)
    return found


@pytest.mark.parametrize(("branch", "task", "today"), CASES)
def test_each_branch_chooses_its_first_model_that_is_left(world, branch: Branch, task: str, today: date):
    names = {"local": A14B[task], "hosted": HOSTED[task]}
    for absent, model, notes in branch.steps:
        facts = world.without(world.facts(today=today), absent)
        decided = plan(ask(world, branch, task), facts)
        assert decided.branch == branch.name
        assert decided.policy == "tiered"
        assert decided.chosen is not None
        assert decided.chosen.model == names.get(model, model), absent
        assert tuple(note.code for note in decided.notes) == notes, absent
        assert decided.chosen.reason.startswith("choice ")


@pytest.mark.parametrize("absent", ["none", "wan_local", "veo", "gemini_omni", "kling", "openai_videos"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("today", DATES, ids=str)
def test_what_is_left_out_says_why(world, task: str, today: date, absent: str):
    facts = world.without(world.facts(today=today), [absent])
    why = reasons(plan(ask(world, BRANCHES[3], task), facts))
    other = A14B[TASKS[task == TASKS[0]]]
    assert why[other] == {"task_unsupported"}
    assert ("retired" in why["sora-2"]) == (today >= date(2026, 9, 24))
    if absent != "veo":
        assert ("retired" in why.get("veo-3.1", set())) == (today >= date(2026, 10, 22))
    gone = {
        "wan_local": A14B[task],
        "veo": "veo-3.1",
        "gemini_omni": "gemini-omni-1.1",
        "kling": "kling-3.0",
    }
    if absent in gone:
        assert "no_adapter" in why[gone[absent]]
    if absent == "openai_videos" and today < date(2026, 9, 24):
        assert why["sora-2"] == {"no_adapter"}
    if absent != "gemini_omni":
        assert why["gemini-omni-1.1"] == {"not_in_slot"}


@pytest.mark.parametrize(("mode", "preset"), [("preview", "fast"), ("final", "official")])
@pytest.mark.parametrize("task", TASKS)
def test_preview_takes_the_fast_preset_and_final_the_official_one(world, task: str, mode: str, preset: str):
    images = [world.image()] if task == "image-to-video" else []
    decided = plan(world.request(mode=mode, images=images), world.facts())
    assert (decided.chosen.model, decided.chosen.preset) == (A14B[task], preset)


def test_without_distilled_weights_the_official_presets_follow(world):
    reason = Unready(code="no_distilled_weights", detail="set distilled_dir")
    real = ("wan-2.2-t2v-a14b", "wan-2.2-ti2v-5b")
    facts = world.facts(unready={(f"wan_local/{model}", "fast"): reason for model in real})
    decided = plan(world.request(mode="preview"), facts)
    ways = [(c.model, c.preset) for c in decided.candidates]
    assert ways[:2] == [("wan-2.2-ti2v-5b", "official"), ("wan-2.2-t2v-a14b", "official")]
    left_out = [(d.model, d.preset, d.code, d.detail) for d in decided.dropped]
    assert ("wan-2.2-t2v-a14b", "fast", "no_distilled_weights", "set distilled_dir") in left_out


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["preview", "basic", "audio", "premium", "default"])
def test_a_fresh_start_ends_with_nano_and_says_so(world, name: str, task: str):
    """Neither real weights nor a remote adapter: only the nano cards are ready."""
    facts = world.facts()
    real = [o for c in facts.cards if not c.test_weights for o in c.offers]
    no_weights = {
        (o.id, p.name): Unready(code="no_weights", detail="set model_dir") for o in real for p in o.presets
    }
    branch = next(b for b in BRANCHES if b.name == name)
    facts = world.without(replace(facts, unready=no_weights), set(world.adapters) - {"wan_local"})
    decided = plan(ask(world, branch, task), facts)
    assert decided.chosen.model == NANO[task]
    assert "test_weights" in {note.code for note in decided.chosen.notes}


@pytest.mark.parametrize("first", [{"mode": "preview"}, {"tier": "basic"}])
class TestSoundInTheLocalSlots:
    def test_a_wish_is_dropped_with_a_note(self, world, first):
        decided = plan(world.request(**first, audio=True), world.facts())
        assert decided.chosen.model == "wan-2.2-t2v-a14b"
        assert [note.code for note in decided.chosen.notes] == ["audio_dropped"]

    def test_a_requirement_moves_on_to_the_audio_slot(self, world, first):
        decided = plan(world.request(**first, audio="required"), world.facts())
        assert decided.branch in ("preview", "basic")
        assert decided.chosen.model == "veo-3.1"
        assert decided.chosen.output.audio
        assert "audio slot" in decided.chosen.reason
        assert [note.code for note in decided.notes] == ["slot_exhausted"]
        assert reasons(decided)["wan-2.2-t2v-a14b"] == {"audio_unsupported"}

    def test_a_requirement_nobody_meets_leads_to_none(self, world, first):
        silent = world.without(world.facts(), set(world.adapters) - {"wan_local"})
        decided = plan(world.request(**first, audio="required"), silent)
        assert decided.chosen is None
        assert decided.candidates == ()
        assert {d.code for d in decided.dropped} == {"audio_unsupported", "no_adapter", "task_unsupported"}


def test_the_reason_says_why_this_slot(world):
    first = plan(world.request(quality="premium"), world.facts()).chosen
    assert first.reason == "choice 1 of 3 in the premium slot: premium quality is asked for"
    silent = world.without(world.facts(), ["kling", "veo"])
    fallen = plan(world.request(quality="premium"), silent).chosen
    assert fallen.reason == "choice 1 of 8 in the default slot: the premium slot cannot serve this"


def test_required_sound_may_be_found_in_the_default_slot(world):
    """After its own slot is exhausted, whatever else makes sound."""
    absent = ["veo", "gemini_omni", "kling", "seedance"]
    slots = {"default": {"image-to-video": [{"model": "wan-2.6"}]}}
    facts = world.without(world.facts(policy_options={"slots": slots}), absent)
    decided = plan(world.request(audio="required", images=[world.image()]), facts)
    assert decided.chosen.model == "wan-2.6"
    assert decided.chosen.output.audio
    assert decided.notes == ()


def test_an_exhausted_audio_slot_leads_a_premium_request_to_the_premium_slot(world):
    slots = {"audio": {"text-to-video": [{"model": "sora-2"}]}}
    facts = world.facts(today=DATES[2], policy_options={"slots": slots})
    decided = plan(world.request(audio=True, quality="premium"), facts)
    assert (decided.branch, decided.chosen.model) == ("audio", "kling-3.0-omni")
    assert decided.chosen.output.audio
    assert decided.notes == ()


def test_the_branches_are_asked_in_the_opening_rules_order(world):
    everything = {"mode": "preview", "tier": "basic", "audio": True, "quality": "premium"}
    order = []
    for field in ("mode", "tier", "audio", "quality", None):
        order.append(plan(world.request(**everything), world.facts()).branch)
        everything.pop(field, None)
    assert order == ["preview", "basic", "audio", "premium", "default"]


def test_the_tenants_tier_counts_where_the_request_names_none(world):
    assert plan(world.request(), world.facts(tier="basic")).branch == "basic"
    assert plan(world.request(tier="pro"), world.facts(tier="basic")).branch == "default"
