"""The opening rule on the cards that the built-in plugins bring."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache

import pytest

from gateway.catalog import Catalog
from gateway.kit.cards import load_cards
from gateway.routing import Facts, PoolFacts, plan
from gateway.spec import Unready
from routing_policies._slots import BUILT_IN

DATES = (date(2026, 9, 1), date(2026, 10, 1), date(2026, 12, 1))
NOW = date(2026, 12, 1)
A14B = {"text-to-video": "wan-2.2-t2v-a14b", "image-to-video": "wan-2.2-i2v-a14b"}
NANO = {"text-to-video": "wan-2.2-nano-t2v", "image-to-video": "wan-2.2-nano-i2v"}
TASKS = tuple(A14B)


@cache
def catalog(adapters: tuple[str, ...]) -> Catalog:
    return Catalog.join([(name, load_cards(f"adapters.{name}")) for name in adapters])


@pytest.fixture(scope="session")
def facts_on(world):
    def build(today: date, absent: tuple[str, ...] = ()) -> Facts:
        joined = catalog(world.adapters)
        pools = {
            "gpu": PoolFacts(slots=1, hourly_usd=Decimal("1.64")),
            "cpu": PoolFacts(slots=1, hourly_usd=Decimal("0.05")),
        }
        aliases = {alias: card.id for card in joined.cards for alias in card.aliases}
        facts = world.facts(*joined.cards, today=today, pools=pools, aliases=aliases)
        return world.without(facts, absent)

    return build


def test_every_place_of_every_slot_is_a_card_that_does_the_task(world):
    joined = catalog(world.adapters)
    assert joined.problems == ()
    for lists in BUILT_IN.values():
        for task, entries in lists.items():
            for entry in entries:
                card = joined.find(entry.model)
                assert card is not None, entry
                assert task in card.tasks, entry
                presets = {preset.name for offer in card.offers for preset in offer.presets}
                assert entry.preset is None or entry.preset in presets, entry


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("asked", "absent", "model"),
    [
        ({"audio": True}, (), "veo-3.1"),
        ({"audio": "required"}, ("veo",), "gemini-omni-1.1"),
        ({"audio": True}, ("veo", "gemini_omni"), "kling-3.0-omni"),
        ({"audio": True}, ("veo", "gemini_omni", "kling"), "seedance-1.5-pro"),
        ({"quality": "premium"}, (), "kling-3.0-omni"),
        ({"quality": "premium"}, ("kling",), "veo-3.1"),
        ({"audio": True, "seconds": "5"}, (), "gemini-omni-1.1"),
        ({"mode": "preview", "audio": "required"}, (), "veo-3.1"),
    ],
)
@pytest.mark.parametrize("today", DATES, ids=str)
def test_the_remote_slots(world, facts_on, asked, absent, model, task, today):
    images = [world.image()] if task == "image-to-video" else []
    decided = plan(world.request(**asked, images=images), facts_on(today, absent))
    assert decided.chosen.model == model
    assert decided.chosen.estimate_usd > 0
    assert decided.chosen.output.audio or not asked.get("audio")
    retired = {d.offer for d in decided.dropped if d.code == "retired"}
    assert ("openai_videos/sora-2/openai" in retired) == (today >= DATES[1] and "seconds" not in asked)
    assert ("veo/veo-3.1/gemini-api" in retired) == (today == NOW and "seconds" not in asked)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("asked", "preset"), [({"mode": "preview"}, "fast"), ({"tier": "basic"}, "fast"), ({}, "official")]
)
def test_the_local_slots(world, facts_on, asked, preset, task):
    images = [world.image()] if task == "image-to-video" else []
    decided = plan(world.request(**asked, images=images), facts_on(NOW))
    assert (decided.chosen.model, decided.chosen.preset) == (A14B[task], preset)
    assert decided.chosen.output.size == "832x480"
    assert NANO[task] not in {candidate.model for candidate in decided.candidates}
    assert {d.model for d in decided.dropped if d.code == "test_weights"} > {NANO[task]}


@pytest.mark.parametrize("task", TASKS)
def test_a_prefix_preview_is_taken_when_asked_for_or_where_nothing_is_quicker(world, facts_on, task):
    images = [world.image()] if task == "image-to-video" else []
    asked = plan(world.request(mode="preview", preset="prefix", images=images), facts_on(NOW))
    assert {c.preset for c in asked.candidates} == {"prefix"}
    assert [c.model for c in asked.candidates] == ["wan-2.2-ti2v-5b", A14B[task]]

    facts = facts_on(NOW)
    distilled = {
        (f"wan_local/{model}", "fast"): Unready(code="no_distilled_weights", detail="set distilled")
        for model in (A14B[task], "wan-2.2-ti2v-5b")
    }
    decided = plan(world.request(mode="preview", images=images), replace(facts, unready=distilled))
    ways = [(c.model, c.preset) for c in decided.candidates]
    assert ways == [
        ("wan-2.2-ti2v-5b", "prefix"),
        (A14B[task], "prefix"),
        ("wan-2.2-ti2v-5b", "official"),
        (A14B[task], "official"),
    ]


@pytest.mark.parametrize("task", TASKS)
def test_a_fresh_start_previews_with_the_whole_render_of_nano(world, facts_on, task):
    images = [world.image()] if task == "image-to-video" else []
    facts = facts_on(NOW)
    real = {
        (offer.id, preset.name): Unready(code="no_weights", detail="set folders")
        for card in facts.cards
        if not card.test_weights
        for offer in card.offers
        for preset in offer.presets
    }
    decided = plan(world.request(mode="preview", images=images), replace(facts, unready=real))
    assert (decided.chosen.model, decided.chosen.preset) == (NANO[task], "official")
    asked = plan(world.request(mode="preview", preset="prefix", images=images), replace(facts, unready=real))
    assert (asked.chosen.model, asked.chosen.preset) == (NANO[task], "prefix")


def test_what_is_left_of_a_preview_is_most_of_the_final_video(world, facts_on):
    done = {
        "video_id": "video_1",
        "attempt_id": "att_1",
        "sha256": "0" * 64,
        "offer": "wan_local/wan-2.2-t2v-a14b",
        "done_preset": "prefix",
        "checkpoint": "checkpoints/video_1/1",
    }
    asked = {"model": "wan-2.2-t2v-a14b", "resolution": "480p"}
    whole = plan(world.request(**asked), facts_on(NOW)).chosen.estimate_usd
    preview = plan(world.request(**asked, mode="preview", preset="prefix"), facts_on(NOW)).chosen.estimate_usd
    rest = plan(world.request(**asked, preset="official", continues=done), facts_on(NOW)).chosen.estimate_usd
    assert preview + rest == whole
    assert whole / 4 < preview < whole / 3


@pytest.mark.parametrize(
    ("task", "model"), [("text-to-video", "wan-2.2-t2v-plus"), ("image-to-video", "wan-2.2-i2v-plus")]
)
def test_without_a_device_the_hosted_wan_serves(world, facts_on, task, model):
    images = [world.image()] if task == "image-to-video" else []
    decided = plan(world.request(images=images), facts_on(NOW, ("wan_local",)))
    assert decided.chosen.model == model


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        ("wan-22-t2v", "wan-2.2-t2v-a14b"),
        ("veo-31-standard", "veo-3.1"),
        ("kling-30-omni", "kling-3.0-omni"),
    ],
)
def test_aliases(world, facts_on, alias, model):
    assert plan(world.request(model=alias), facts_on(NOW)).chosen.model == model


def test_the_price_at_official_settings_is_what_the_design_expects(world, facts_on):
    """About 0.36 dollars for a clip of 480p on an A100 at 1.64 an hour."""
    chosen = plan(world.request(resolution="480p"), facts_on(NOW)).chosen
    assert chosen.estimate_usd == Decimal("0.357930")
