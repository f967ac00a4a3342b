"""The built-in policies, each on its measure; random weights last in all but the slots that name them."""

from __future__ import annotations

import pluggy
import pytest

import routing_policies
from gateway.routing import plan
from routing_policies.best_quality import BestQuality
from routing_policies.cheapest import Cheapest
from routing_policies.fastest import Fastest
from routing_policies.tiered import Tiered
from routing_policies.weighted import Weighted


def score(world, value: str, scale: str = "arena") -> dict[str, object]:
    return {"score": value, "scale": scale, "source": world.source}


@pytest.fixture(scope="session")
def cards(world):
    """Price, time and score in three different orders; one without a time, one on another scale."""

    def make(name, usd, seconds, quality, **fields):
        offer = world.offer(name, prices=[world.price(usd)], presets=[world.preset("standard", seconds)])
        return world.card(name, offer, quality=quality, **fields)

    return (
        make("cheap", "0.10", "300", score(world, "900")),
        make("quick", "0.20", "20", score(world, "1000")),
        make("fine", "0.40", "100", score(world, "1200")),
        make("unknown", "0.30", None, score(world, "99", "votes")),
        make("a-test", "0.01", "1", score(world, "2000"), test_weights=True),
    )


@pytest.mark.parametrize(
    ("policy", "options", "order"),
    [
        (Cheapest(), {}, ["cheap", "quick", "unknown", "fine"]),
        (Fastest(), {}, ["quick", "fine", "cheap", "unknown"]),
        (BestQuality(), {}, ["fine", "quick", "cheap", "unknown"]),
        (Weighted(), {"speed": 0, "quality": 0}, ["cheap", "quick", "unknown", "fine"]),
        (Weighted(), {"price": 0, "quality": "0"}, ["quick", "fine", "cheap", "unknown"]),
        (
            Weighted(),
            {"price": "0.1", "speed": "0", "quality": 3},
            ["fine", "quick", "cheap", "unknown"],
        ),
        (Weighted(), {}, ["quick", "fine", "cheap", "unknown"]),
    ],
)
def test_order(world, cards, policy, options, order):
    facts = world.facts(*cards, policy=policy, policy_options=options)
    decided = plan(world.request(), facts)
    assert [c.model for c in decided.candidates] == order
    assert decided.policy == decided.branch == policy.name
    assert all(c.reason for c in decided.candidates)
    assert [(d.model, d.code) for d in decided.dropped] == [("a-test", "test_weights")]


@pytest.mark.parametrize("policy", [Cheapest(), Fastest(), BestQuality(), Weighted()])
def test_random_weights_serve_where_nothing_real_does(world, cards, policy):
    decided = plan(world.request(), world.facts(cards[-1], policy=policy))
    assert decided.chosen.model == "a-test"
    assert [note.code for note in decided.chosen.notes] == ["test_weights"]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Cheapest(), "estimated at $0.5"),
        (Fastest(), "expected after 20.0 s"),
        (BestQuality(), "scores 1200 on arena"),
        (Weighted(), "of 1: price"),
    ],
)
def test_reasons_are_words(world, cards, policy, reason):
    assert reason in plan(world.request(), world.facts(*cards, policy=policy)).chosen.reason


@pytest.mark.parametrize("policy", [Cheapest(), Fastest(), BestQuality(), Weighted(), Tiered()])
def test_nothing_to_order(world, policy):
    facts = world.facts(world.card("none"), policy=policy)
    assert plan(world.request(), facts).candidates == ()


def test_a_score_below_zero_is_still_a_score(world):
    unscored = world.card("unscored", world.offer("unscored", prices=[world.price("0.01")]))
    poor = world.card("poor", world.offer("poor"), quality=score(world, "-3"))
    candidates = plan(world.request(), world.facts(unscored, poor, policy=BestQuality())).candidates
    assert [c.model for c in candidates] == ["poor", "unscored"]


def test_equal_scores_go_by_price_and_fast_presets_follow(world):
    presets = [world.preset("fast", "5", fast=True), world.preset("official", "50")]

    def make(name, usd):
        prices = [world.price(usd, presets=["official"]), world.price("0.01", presets=["fast"])]
        return world.card(name, world.offer(name, presets=presets, prices=prices), quality=score(world, "1"))

    facts = world.facts(make("dear", "0.3"), make("cheap", "0.2"), policy=BestQuality())
    ways = [(c.model, c.preset) for c in plan(world.request(), facts).candidates]
    assert ways == [("cheap", "official"), ("dear", "official"), ("cheap", "fast"), ("dear", "fast")]


class TestTheSlotsOfTiered:
    def test_a_list_given_replaces_the_built_in_one(self, world):
        slots = {"premium": {"text-to-video": [{"model": "wan-2.6"}]}}
        facts = world.facts(policy_options={"slots": slots})
        text, image = (
            plan(world.request(quality="premium", images=i), facts).chosen for i in ([], [world.image()])
        )
        assert (text.model, image.model) == ("wan-2.6", "kling-3.0-omni")

    def test_an_entry_without_a_preset_means_all_of_them(self, world):
        slots = {"default": {"text-to-video": [{"model": "wan-2.2-t2v-a14b"}]}}
        facts = world.facts(policy_options={"slots": slots})
        candidates = plan(world.request(), facts).candidates
        assert [c.preset for c in candidates] == ["official", "fast"]

    def test_a_place_named_twice_counts_once(self, world):
        model = "wan-2.2-t2v-a14b"
        slots = {"default": {"text-to-video": [{"model": model, "preset": "fast"}, {"model": model}]}}
        candidates = plan(world.request(), world.facts(policy_options={"slots": slots})).candidates
        assert [c.preset for c in candidates] == ["fast", "official"]

    def test_what_fits_but_is_not_listed_is_reported(self, world):
        decided = plan(world.request(), world.facts())
        left_out = {d.model: d for d in decided.dropped if d.code == "not_in_slot"}
        assert "kling-3.0" in left_out
        assert left_out["kling-3.0"].offer == "kling/kling-3.0"
        assert left_out["kling-3.0"].preset == "standard"
        assert "default rule of policy tiered" in left_out["kling-3.0"].detail


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (Cheapest(), {"by": "price"}, "takes no options; found by"),
        (Fastest(), {"by": "price"}, "takes no options"),
        (BestQuality(), {"by": "price"}, "takes no options"),
        (Weighted(), {"price": -1}, "price: "),
        (Weighted(), {"prize": 1}, "prize: "),
        (Weighted(), {"price": 0, "speed": 0, "quality": 0}, "at least one weight"),
        (Tiered(), {"slot": {}}, "slot: "),
        (Tiered(), {"slots": {"gold": {}}}, "slots.gold"),
        (Tiered(), {"slots": {"basic": {"text": []}}}, "slots.basic.text"),
        (Tiered(), {"slots": {"basic": {"text-to-video": ["veo-3.1"]}}}, "slots.basic.text-to-video.0: "),
        (
            Tiered(),
            {"slots": {"basic": {"text-to-video": [{"model": "veo-9"}]}}},
            "slots.basic.text-to-video.0: no model is named 'veo-9'",
        ),
    ],
)
def test_unsound_options_are_named(policy, options, words):
    (problem,) = policy.validate(options, frozenset({"veo-3.1"}))
    assert words in problem


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (Cheapest(), {}),
        (Weighted(), {"price": "0.5", "speed": 2}),
        (Tiered(), {}),
        (Tiered(), {"slots": {"basic": {"image-to-video": [{"model": "veo-3.1", "preset": "standard"}]}}}),
    ],
)
def test_sound_options(policy, options):
    assert list(policy.validate(options, frozenset({"veo-3.1"}))) == []


def test_the_plugin_registers_them_all():
    manager = pluggy.PluginManager("reelgate")
    manager.add_hookspecs(__import__("gateway.spec.hooks", fromlist=["hooks"]))
    manager.register(routing_policies)
    (policies,) = manager.hook.register_policies()
    assert [p.name for p in policies] == ["tiered", "cheapest", "fastest", "best_quality", "weighted"]
