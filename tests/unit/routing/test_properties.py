"""What holds for every request and every set of cards; hypothesis draws both, always from the same seed."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing import Facts, plan
from gateway.spec import Plan, Policy, Unready, VideoRequest
from routing_policies import register_policies

TODAY = date(2026, 9, 1)
NAMES = ("wan-2.2-t2v-a14b", "veo-3.1", "kling-3.0-omni", "kling-3.0", "wan-2.2-t2v-plus", "sora-2")
DAYS = st.sampled_from([None, "2026-08-01", "2026-09-01", "2026-09-02"])

bounded = settings(max_examples=80, deadline=None, derandomize=True)

requests = st.fixed_dictionaries(
    {
        "prompt": st.just("a paper boat"),
        "mode": st.sampled_from(["preview", "final"]),
        "tier": st.sampled_from([None, "basic", "enterprise"]),
        "audio": st.sampled_from([None, True, False, "required"]),
        "quality": st.sampled_from(["standard", "premium"]),
        "seconds": st.sampled_from([None, "5", "8", "30"]),
        "resolution": st.sampled_from([None, "480p", "720p", "4k"]),
        "aspect_ratio": st.sampled_from([None, "16:9", "1:1"]),
        "max_cost": st.sampled_from([None, "0.3", "1"]),
        "deadline": st.sampled_from([None, 30, 600]),
    }
).map(VideoRequest.model_validate)

card_facts = st.fixed_dictionaries(
    {
        "adapter": st.sampled_from(["wan_local", "kling", "absent"]),
        "usd": st.sampled_from([None, "0.01", "0.1", "0.5"]),
        "confidence": st.sampled_from(["high", "low"]),
        "seconds": st.sampled_from([None, "10", "400"]),
        "card_retired": DAYS,
        "offer_retired": DAYS,
        "audio": st.sampled_from(["never", "optional", "always"]),
        "tasks": st.sampled_from([["text-to-video"], ["image-to-video"]]),
        "test_weights": st.booleans(),
        "unready": st.booleans(),
    }
)
worlds = st.lists(card_facts, min_size=1, max_size=len(NAMES))
policies = st.sampled_from(register_policies())


def build(world, drawn: list[dict[str, Any]], policy: Policy) -> Facts:
    cards, unready = [], {}
    for name, fields in zip(NAMES, drawn, strict=False):
        source = {**world.source, "confidence": fields["confidence"]}
        prices = [world.price(fields["usd"], source=source)] if fields["usd"] else []
        offer = world.offer(
            name,
            fields["adapter"],
            pool="gpu" if fields["adapter"] == "wan_local" else None,
            prices=prices,
            presets=[world.preset("official", fields["seconds"]), world.preset("fast", fast=True)],
            lifecycle={"retired_on": fields["offer_retired"]},
        )
        card = {key: fields[key] for key in ("audio", "tasks", "test_weights")}
        cards.append(world.card(name, offer, lifecycle={"retired_on": fields["card_retired"]}, **card))
        if fields["unready"]:
            unready[offer.id, "official"] = Unready(code="no_weights", detail="set model_dir")
    return world.facts(*cards, policy=policy, unready=unready, today=TODAY, budget_left_micro_usd=2_000_000)


@pytest.fixture(scope="session")
def make(world):
    def run(drawn, policy) -> Facts:
        return build(world, drawn, policy)

    return run


@bounded
@given(request_=requests, drawn=worlds, policy=policies)
def test_nothing_is_tried_that_a_hard_rule_excludes(make, request_, drawn, policy):
    facts = make(drawn, policy)
    decided = plan(request_, facts)
    out = {(d.model, d.offer, d.preset) for d in decided.dropped}
    for c in decided.candidates:
        assert not out & {(c.model, None, None), (c.model, c.offer, None), (c.model, c.offer, c.preset)}
        fields = drawn[NAMES.index(c.model)]
        for retired in (fields["card_retired"], fields["offer_retired"]):
            assert retired is None or date.fromisoformat(retired) > TODAY
        assert fields["usd"] is not None
        assert fields["confidence"] == "high"
        assert fields["tasks"] == ["text-to-video"]
        assert not (fields["unready"] and c.preset == "official")
        assert 0 < c.estimate_usd <= (request_.max_cost or Decimal(2))
        assert request_.audio != "required" or c.output.audio
        assert c.adapter in facts.adapters
    assert decided.chosen == (decided.candidates[0] if decided.candidates else None)


@bounded
@given(request_=requests, drawn=worlds, policy=policies)
def test_every_way_is_accounted_for_once(make, request_, drawn, policy):
    facts = make(drawn, policy)
    decided = plan(request_, facts)
    dropped = [(d.model, d.offer, d.preset) for d in decided.dropped]
    tried = [(c.model, c.offer, c.preset) for c in decided.candidates]
    assert len(set(dropped + tried)) == len(dropped) + len(tried)
    for card in facts.cards:
        for offer in card.offers:
            for preset in offer.presets:
                ways = {(card.id, None, None), (card.id, offer.id, None), (card.id, offer.id, preset.name)}
                assert len(ways & {*dropped, *tried}) == 1


@bounded
@given(request_=requests, drawn=worlds, policy=policies, seed=st.integers(0, 9))
def test_the_same_question_has_the_same_answer(make, request_, drawn, policy, seed):
    facts = make(drawn, policy)
    cards = list(facts.cards)
    random.Random(seed).shuffle(cards)
    shuffled = Facts(**{**vars(facts), "cards": tuple(cards)})
    first = plan(request_, facts)
    assert plan(request_, facts) == first
    assert plan(request_, shuffled).candidates == first.candidates


@bounded
@given(request_=requests, drawn=worlds, policy=policies)
def test_a_plan_survives_json(make, request_, drawn, policy):
    decided = plan(request_, make(drawn, policy))
    again = Plan.model_validate_json(decided.model_dump_json())
    assert again == decided
    assert again.model_dump_json() == decided.model_dump_json()
