"""Each hard rule alone: its code, and that its detail names what would be allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from gateway.routing import Facts, Timing, plan
from gateway.spec import Dropped, ModelCard, Unready, VideoRequest


def only_reason(request: VideoRequest, facts: Facts) -> Dropped:
    decided = plan(request.model_copy(update={"model": "one"}), facts)
    assert decided.chosen is None
    (dropped,) = decided.dropped
    assert dropped.model == "one"
    return dropped


@pytest.fixture(scope="session")
def one(world) -> ModelCard:
    return world.card("one", world.offer("one"))


# (fields of the request, fields of the card, code, words of the detail); refused for every offer at once
CARD_CASES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"lifecycle": {"retired_on": "2026-09-01", "successor": "two"}}, "retired", "2026-09-01"),
    ({}, {"lifecycle": {"retired_on": "2026-09-01", "successor": "two"}}, "retired", "successor is two"),
    ({}, {"tasks": ["image-to-video"]}, "task_unsupported", "does image-to-video, not text-to-video"),
    ({"size": "640x480"}, {}, "size_unsupported", "832x480, 480x832"),
    ({"size": "72x64"}, {"sizes": {"min": 32, "max": 128, "step": 16}}, "size_unsupported", "32 to 128 px"),
    ({"resolution": "4k"}, {}, "resolution_unsupported", "makes 480p, 720p, not 4k"),
    (
        {"resolution": "480p"},
        {"sizes": {"min": 32, "max": 128, "step": 16}},
        "resolution_unsupported",
        "32 to 128 px",
    ),
    ({"aspect_ratio": "21:9"}, {}, "aspect_ratio_unsupported", "1280x720"),
    (
        {"aspect_ratio": "9:1"},
        {"sizes": {"min": 32, "max": 128, "step": 16}},
        "aspect_ratio_unsupported",
        "none is 9:1",
    ),
    ({"size": "832x480", "resolution": "720p"}, {}, "size_unsupported", "1280x720, 720x1280, not 832x480"),
    ({"seconds": "11"}, {}, "duration_unsupported", "1 to 10 s, not 11 s"),
    (
        {"seconds": "5"},
        {"durations": {"values": ["4", "8"], "default": "8"}},
        "duration_unsupported",
        "one of 4, 8 s",
    ),
    ({"audio": "required"}, {}, "audio_unsupported", "makes no sound"),
    ({}, {"offers": []}, "no_offer", "offers one anywhere"),
]


@pytest.mark.parametrize(("asked", "fields", "code", "words"), CARD_CASES)
def test_a_card_rule_is_reported_once(world, one, asked, fields, code, words):
    sized = {"default_size": "64x64"} if "min" in fields.get("sizes", {}) else {}
    card = world.card("one", **{"offers": one.offers, **fields, **sized})
    dropped = only_reason(world.request(**asked), world.facts(card))
    assert (dropped.code, dropped.offer, dropped.preset) == (code, None, None)
    assert words in dropped.detail


@pytest.mark.parametrize(
    ("roles", "images", "words"),
    [
        (["first_frame"], {}, "takes no image; 1 first_frame was given"),
        (["first_frame", "last_frame"], {"first_frame": True}, "takes 1 first_frame; 1 last_frame"),
        (
            ["reference"] * 3,
            {"first_frame": True, "references": 2},
            "1 first_frame, 2 reference; 3 reference",
        ),
    ],
)
def test_image_roles(world, one, roles, images, words):
    card = world.card("one", *one.offers, images=images)
    asked = world.request(images=[world.image(role) for role in roles])
    dropped = only_reason(asked, world.facts(card))
    assert (dropped.code, dropped.offer) == ("image_role_unsupported", None)
    assert words in dropped.detail


# (a limit of the card, an image on its edge, one beyond it, words of the detail)
SHAPES: list[tuple[dict[str, Any], dict[str, int], dict[str, int], str]] = [
    (
        {"min_side": 300},
        {"width": 300, "height": 4000},
        {"width": 4000, "height": 299},
        "at least 300 px a side; ",
    ),
    ({"min_side": 300}, {"width": 300, "height": 300}, {"width": 299, "height": 300}, "has 299x300"),
    (
        {"max_side": 4000},
        {"width": 4000, "height": 10},
        {"width": 10, "height": 4001},
        "at most 4000 px a side; ",
    ),
    ({"max_ratio": "2.5"}, {"width": 250, "height": 100}, {"width": 251, "height": 100}, "at most 2.5:1; "),
    (
        {"max_ratio": "2.5"},
        {"width": 100, "height": 250},
        {"width": 100, "height": 251},
        "100x251, which is 2.51:1",
    ),
    (
        {"max_bytes": 10_000_000},
        {"size": 10_000_000},
        {"size": 10_000_001},
        "10,000,000 bytes; the last_frame",
    ),
    ({"max_bytes": 10_000_000}, {"size": 10_000_000}, {"size": 12_345_678}, "has 12,345,678"),
]


@pytest.mark.parametrize(("limit", "edge", "beyond", "words"), SHAPES)
def test_an_image_outside_of_the_models_limits(world, one, limit, edge, beyond, words):
    card = world.card("one", *one.offers, images={"first_frame": True, "last_frame": True, **limit})
    first, facts = world.image(), world.facts(card)
    fits = world.request(model="one", images=[world.image(**edge), world.image("last_frame", **edge)])
    assert plan(fits, facts).chosen is not None
    dropped = only_reason(
        world.request(images=[world.image(**edge), world.image("last_frame", **beyond)]), facts
    )
    assert (dropped.code, dropped.offer) == ("image_unsuitable", None)
    assert words in dropped.detail
    assert plan(world.request(model="one", images=[first]), world.facts(one)).chosen is not None


def test_a_prompt_that_the_model_would_refuse(world, one):
    limits = {"characters": 2_500, "refused": True}
    facts = world.facts(world.card("one", *one.offers, prompt_limit=limits))
    assert plan(world.request(model="one", prompt="雨" * 2_500), facts).chosen.notes == ()
    dropped = only_reason(world.request(prompt="x" * 2_501), facts)
    assert (dropped.code, dropped.offer) == ("prompt_too_long", None)
    assert "at most 2,500 characters; this one has 2,501" in dropped.detail


def test_a_prompt_that_the_model_would_cut_is_noted(world, one):
    facts = world.facts(world.card("one", *one.offers, prompt_limit={"characters": 2_500}))
    assert plan(world.request(model="one", prompt="x" * 2_500), facts).chosen.notes == ()
    (note,) = plan(world.request(model="one", prompt="x" * 2_501), facts).chosen.notes
    assert note.code == "prompt_truncated"
    assert "the first 2,500 characters of a prompt; this one has 2,501" in note.detail


# (fields of the request, fields of the offer, code, words of the detail); refused for every preset at once
OFFER_CASES: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({}, {"adapter": "stranger"}, "no_adapter", "'stranger'"),
    ({}, {"lifecycle": {"retired_on": "2026-08-31"}}, "retired", "2026-08-31"),
    ({}, {"limits": {"tasks": ["image-to-video"]}}, "task_unsupported", "does image-to-video"),
    ({"resolution": "720p"}, {"limits": {"resolutions": ["480p"]}}, "resolution_unsupported", "makes 480p"),
    ({"size": "1280x720"}, {"limits": {"resolutions": ["480p"]}}, "size_unsupported", "makes 832x480"),
    (
        {"seconds": "3"},
        {"limits": {"durations": {"values": ["5"], "default": "5"}}},
        "duration_unsupported",
        "one of 5 s",
    ),
    ({"audio": "required"}, {"limits": {"audio": "never"}}, "audio_unsupported", "passes no sound"),
    ({}, {"adapter": "wan_local", "pool": "tpu"}, "no_device_slot", "tpu has no slot; pools: gpu"),
    ({}, {"adapter": "wan_local"}, "no_device_slot", "(unnamed)"),
]


@pytest.mark.parametrize(("asked", "fields", "code", "words"), OFFER_CASES)
def test_an_offer_rule_names_its_offer(world, asked, fields, code, words):
    offer = world.offer("one", **fields)
    card = world.card("one", offer, audio="optional")
    dropped = only_reason(world.request(**asked), world.facts(card))
    assert (dropped.code, dropped.offer, dropped.preset) == (code, offer.id, None)
    assert words in dropped.detail


def test_a_pool_without_slots(world):
    card = world.card("one", world.local_offer("one", world.preset("official", "10")))
    facts = world.facts(card, pools=world.pool(slots=0))
    assert only_reason(world.request(), facts).code == "no_device_slot"


# (fields of the request, fields of the offer, fields of the facts, code, words of the detail)
PRESET_CASES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, str]] = [
    (
        {},
        {},
        {"unready": {("kling/one", "standard"): Unready(code="no_credentials", detail="set KLING_KEY")}},
        "no_credentials",
        "set KLING_KEY",
    ),
    ({}, {"prices": []}, {}, "no_price", "no price is known"),
    ({"max_cost": "0.49"}, {}, {}, "over_max_cost", "$0.5; max_cost is $0.49"),
    ({}, {}, {"budget_left_micro_usd": 499_999}, "over_budget", "$0.499999 left"),
    ({"deadline": 59}, {}, {}, "over_deadline", "after 60 s; the deadline is 59 s"),
]


@pytest.mark.parametrize(("asked", "fields", "known", "code", "words"), PRESET_CASES)
def test_a_preset_rule_names_its_preset(world, asked, fields, known, code, words):
    offer = world.offer("one", **{"presets": [world.preset("standard", "60")], **fields})
    dropped = only_reason(world.request(**asked), world.facts(world.card("one", offer), **known))
    assert (dropped.code, dropped.offer, dropped.preset) == (code, "kling/one", "standard")
    assert words in dropped.detail


def test_the_limits_themselves_are_allowed(world):
    offer = world.offer("one", presets=[world.preset("standard", "60")])
    facts = world.facts(world.card("one", offer), budget_left_micro_usd=500_000)
    chosen = plan(world.request(model="one", max_cost="0.5", deadline=60), facts).chosen
    assert (chosen.estimate_usd, chosen.eta_ms) == (Decimal("0.5"), 60_000)


def test_an_unknown_time_meets_every_deadline(world, one):
    chosen = plan(world.request(model="one", deadline=1), world.facts(one)).chosen
    assert chosen.eta_ms is None


def test_an_unverified_price_never_routes(world):
    guess = world.price(source={**world.source, "confidence": "low"})
    card = world.card("one", world.offer("one", prices=[guess]))
    dropped = only_reason(world.request(), world.facts(card))
    assert (dropped.code, "unverified" in dropped.detail) == ("no_price", True)


def test_a_device_price_needs_a_time(world):
    card = world.card("one", world.local_offer("one", world.preset("official")))
    facts = world.facts(card)
    assert only_reason(world.request(), facts).code == "no_estimate"
    key = ("wan_local/one", "official", "832x480")
    few = replace(facts, timings={key: Timing(ms_per_second=1000, count=2)})
    assert only_reason(world.request(), few).code == "no_estimate"
    enough = replace(facts, timings={key: Timing(ms_per_second=1000, count=3)})
    chosen = plan(world.request(model="one"), enough).chosen
    assert (chosen.eta_ms, chosen.estimate_usd) == (5000, Decimal("0.002278"))  # 5 s of $1.64/h


def test_measured_renders_count_for_more_than_the_reference(world):
    card = world.card("one", world.local_offer("one", world.preset("official", "800")))
    measured = {("wan_local/one", "official", "832x480"): Timing(ms_per_second=2000, count=3)}
    reference = plan(world.request(model="one"), world.facts(card)).chosen
    chosen = plan(world.request(model="one"), world.facts(card, timings=measured)).chosen
    assert (reference.eta_ms, chosen.eta_ms) == (800_000, 10_000)
    assert reference.estimate_usd == Decimal("0.364444")


@pytest.mark.parametrize(
    ("slots", "waiting", "running", "turns"), [(1, 0, 0, 1), (1, 2, 1, 4), (2, 2, 1, 3), (4, 0, 1, 2)]
)
def test_a_local_eta_holds_the_queue(world, slots, waiting, running, turns):
    card = world.card("one", world.local_offer("one", world.preset("official", "100")))
    pools = world.pool(slots=slots, waiting=waiting, running=running)
    assert plan(world.request(model="one"), world.facts(card, pools=pools)).chosen.eta_ms == turns * 100_000


def test_the_first_rule_that_fails_speaks_for_the_others(world):
    """A retired model that could not do the task, at a size it lacks, by an adapter nobody installed."""
    card = world.card(
        "one",
        world.offer("one", "stranger"),
        tasks=["image-to-video"],
        lifecycle={"retired_on": "2026-08-01"},
    )
    assert only_reason(world.request(size="640x480"), world.facts(card)).code == "retired"


def test_each_preset_has_its_own_reason(world):
    card = world.card(
        "one",
        world.local_offer("one", world.preset("official", "800"), world.preset("fast", "70", fast=True)),
    )
    decided = plan(world.request(model="one", deadline=100), world.facts(card))
    assert [c.preset for c in decided.candidates] == ["fast"]
    assert [(d.preset, d.code) for d in decided.dropped] == [("official", "over_deadline")]


def test_retirement_counts_from_the_day_itself(world):
    card = world.card("one", world.offer("one"), lifecycle={"retired_on": "2026-09-24"})
    codes = []
    for today in (date(2026, 9, 23), date(2026, 9, 24)):
        decided = plan(world.request(model="one"), world.facts(card, today=today))
        codes.append([d.code for d in decided.dropped])
    assert codes == [[], ["retired"]]
