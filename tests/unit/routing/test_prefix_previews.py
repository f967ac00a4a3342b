"""Presets that stop early and those that finish them: who is asked when, and what a continuation costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gateway.routing import Facts, Timing, plan
from gateway.spec import Continues, Plan, Unready
from routing_policies.best_quality import BestQuality
from routing_policies.cheapest import Cheapest
from routing_policies.fastest import Fastest
from routing_policies.weighted import Weighted

HOUR = Decimal("1.64")
DONE = Continues(
    video_id="video_1",
    attempt_id="att_1",
    offer="wan_local/one",
    done_preset="prefix",
    checkpoint="checkpoints/video_1/1",
    sha256="0" * 64,
)


@pytest.fixture(scope="session")
def presets(world) -> list[dict[str, Any]]:
    prefix = {**world.preset("prefix", "300"), "finished_by": "official"}
    return [world.preset("official", "1000"), world.preset("fast", "50", fast=True), prefix]


@pytest.fixture(scope="session")
def facts(world, presets) -> Facts:
    """The model ``one``, at home and dearer elsewhere, and another that has none of its presets."""
    elsewhere = world.offer("one", presets=[world.preset("standard", "60")])
    one = world.card("one", elsewhere, world.local_offer("one", *presets))
    return world.facts(one, world.card("two", world.offer("two")), policy=Cheapest())


def ways(decided: Plan) -> list[str]:
    return [candidate.preset for candidate in decided.candidates]


def codes(decided: Plan) -> dict[str, str]:
    return {f"{way.offer} {way.preset or '*'}": way.code for way in decided.dropped}


class TestAPrefixPreview:
    def test_it_serves_previews_and_nothing_else(self, world, facts):
        assert "prefix" in ways(plan(world.request(model="one", mode="preview"), facts))
        final = plan(world.request(model="one"), facts)
        assert "prefix" not in ways(final)
        assert codes(final) == {"wan_local/one prefix": "preview_only"}

    def test_it_is_taken_when_it_is_asked_for(self, world, facts):
        decided = plan(world.request(mode="preview", preset="prefix"), facts)
        assert ways(decided) == ["prefix"]
        assert set(codes(decided).values()) == {"preset_not_asked"}
        assert codes(decided).keys() == {
            "kling/one standard",
            "wan_local/one official",
            "wan_local/one fast",
            "kling/two standard",
        }

    @pytest.mark.parametrize("name", ["prefix", "gone"])
    def test_nothing_else_stands_in_for_it(self, world, facts, name):
        decided = plan(world.request(model="one", preset=name), facts)
        assert decided.chosen is None
        assert {way.code for way in decided.dropped} <= {"preset_not_asked", "preview_only"}

    def test_a_preset_may_be_asked_for_without_a_model(self, world, facts):
        assert [c.model for c in plan(world.request(preset="standard"), facts).candidates] == ["one", "two"]

    def test_a_named_model_meets_it_after_its_whole_presets(self, world, presets):
        facts = world.facts(world.card("one", world.local_offer("one", *presets)))
        decided = plan(world.request(model="one", mode="preview"), facts)
        assert ways(decided) == ["fast", "official", "prefix"]

    @pytest.mark.parametrize(
        ("policy", "order"),
        [
            (Cheapest(), ["fast", "prefix", "official"]),
            (Fastest(), ["fast", "prefix", "official"]),
            (Weighted(), ["fast", "prefix", "official"]),
            (BestQuality(), ["official", "fast", "prefix"]),
        ],
    )
    def test_where_it_stands_with_the_other_policies(self, world, presets, policy, order):
        score = {"score": "1", "scale": "arena", "source": world.source}
        card = world.card("one", world.local_offer("one", *presets), quality=score)
        facts = world.facts(card, policy=policy)
        assert ways(plan(world.request(mode="preview"), facts)) == order


class TestAContinuation:
    @pytest.fixture
    def decide(self, world, facts):
        def run(facts: Facts = facts, **asked: Any) -> Plan:
            asked = {"model": "one", "preset": "official", "continues": DONE.model_dump(), **asked}
            return plan(world.request(**asked), facts)

        return run

    def test_only_its_own_offer_and_the_preset_that_finishes_it_will_do(self, decide):
        decided = decide()
        assert [(c.offer, c.preset) for c in decided.candidates] == [("wan_local/one", "official")]
        assert codes(decided) == {
            "kling/one *": "cannot_continue",
            "wan_local/one fast": "cannot_continue",
            "wan_local/one prefix": "cannot_continue",
        }

    def test_it_costs_and_takes_what_the_preview_has_not_done(self, decide):
        chosen = decide().chosen
        assert chosen.eta_ms == 700_000
        assert chosen.estimate_usd == Decimal("0.318889")
        assert abs(chosen.estimate_usd - HOUR * 700 / 3600) < Decimal("0.000001")

    def test_measured_times_count_for_it_too(self, decide, facts):
        measured = {
            ("wan_local/one", name, "832x480"): Timing(ms_per_second=ms, count=3)
            for name, ms in (("official", 100_000), ("prefix", 40_000))
        }
        assert decide(replace(facts, timings=measured)).chosen.eta_ms == 300_000

    def test_it_is_never_expected_to_cost_less_than_a_twentieth(self, decide, facts):
        measured = {("wan_local/one", "prefix", "832x480"): Timing(ms_per_second=300_000, count=3)}
        chosen = decide(replace(facts, timings=measured)).chosen
        assert chosen.eta_ms == 50_000
        assert chosen.estimate_usd == Decimal("0.022778")

    def test_its_limits_are_held_against_what_is_left(self, decide):
        assert decide(max_cost="0.32", deadline=701).chosen is not None
        for limit, code in (({"max_cost": "0.31"}, "over_max_cost"), ({"deadline": 699}, "over_deadline")):
            decided = decide(**limit)
            assert decided.chosen is None
            assert codes(decided)["wan_local/one official"] == code

    def test_no_other_model_is_named_in_its_place(self, decide, facts):
        unready = {("wan_local/one", "official"): Unready(code="no_weights", detail="set model_dir")}
        decided = decide(replace(facts, unready=unready))
        assert (decided.chosen, decided.alternative) == (None, None)
        assert codes(decided)["wan_local/one official"] == "no_weights"
