"""A named model is used, or refused with the reason and the nearest alternative."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.routing import UnknownModel, plan

LATE = date(2026, 12, 1)


def test_only_its_own_offers(world):
    decided = plan(world.request(model="veo-3.1"), world.facts())
    assert decided.branch == "named"
    assert {c.model for c in decided.candidates} == {"veo-3.1"}
    assert {c.offer for c in decided.candidates} == {"veo/gemini", "veo/vertex"}
    assert decided.dropped == ()
    assert decided.alternative is None


def test_an_alias_is_the_model(world):
    facts = world.facts(aliases={"kling-30-omni": "kling-3.0-omni"})
    assert plan(world.request(model="kling-30-omni"), facts).chosen.model == "kling-3.0-omni"


def test_a_name_nobody_knows(world):
    with pytest.raises(UnknownModel, match="'veo-9'") as raised:
        plan(world.request(model="veo-9"), world.facts())
    assert raised.value.name == "veo-9"
    assert raised.value.code == "model_not_found"


def test_a_retired_one_names_its_successor(world):
    decided = plan(world.request(model="sora-2"), world.facts(today=date(2026, 9, 24)))
    assert decided.chosen is None
    assert decided.alternative == "veo-3.1"
    (dropped,) = decided.dropped
    assert dropped.code == "retired"
    assert "2026-09-24" in dropped.detail
    assert "veo-3.1" in dropped.detail


def test_a_successor_that_would_not_do_is_not_named(world):
    """Veo 3.1 is missing too, so what auto would choose is named."""
    facts = world.without(world.facts(today=LATE), ["veo"])
    assert plan(world.request(model="sora-2"), facts).alternative == "wan-2.2-t2v-a14b"


def test_a_successor_counts_only_once_the_model_is_retired(world):
    """Before that it is no answer to why the model was refused."""
    card = world.card(
        "old", world.offer("old"), lifecycle={"retired_on": "2026-09-24", "successor": "kling-3.0"}
    )
    facts = world.facts(card, *world.opening_cards())
    decided = plan(world.request(model="old", resolution="720p", max_cost="0.49"), facts)
    assert [d.code for d in decided.dropped] == ["over_max_cost"]
    assert decided.alternative == "wan-2.2-t2v-a14b"


def test_offers_at_one_price_come_in_the_cards_order(world):
    card = world.card("one", *(world.offer("one", id=name) for name in ("b", "a", "c")))
    candidates = plan(world.request(model="one"), world.facts(card)).candidates
    assert [c.offer for c in candidates] == ["b", "a", "c"]


def test_an_unusable_one_names_what_auto_would_choose(world):
    request = world.request(model="wan-2.2-t2v-a14b", images=[world.image()])
    decided = plan(request, world.facts())
    assert [d.code for d in decided.dropped] == ["task_unsupported"]
    assert decided.alternative == "wan-2.2-i2v-a14b"


def test_no_alternative_where_nothing_fits(world):
    decided = plan(world.request(model="kling-3.0", seconds="600"), world.facts())
    assert (decided.chosen, decided.alternative) == (None, None)


def test_presets_come_in_the_cards_order_then_by_price(world):
    presets = [world.preset("official", "60"), world.preset("fast", "6", fast=True)]
    dear = world.offer("one", "kling", presets=presets, prices=[world.price("0.2")])
    cheap = world.offer("one", "seedance", presets=presets, prices=[world.price("0.1")])
    facts = world.facts(world.card("one", dear, cheap))

    def ways(**asked):
        return [(c.preset, c.adapter) for c in plan(world.request(model="one", **asked), facts).candidates]

    official = [("official", "seedance"), ("official", "kling")]
    fast = [("fast", "seedance"), ("fast", "kling")]
    assert ways() == [*official, *fast]
    assert ways(mode="preview") == [*fast, *official]


def test_random_weights_serve_when_they_are_named(world):
    chosen = plan(world.request(model="wan-2.2-nano-ti2v"), world.facts()).chosen
    assert chosen.model == "wan-2.2-nano-ti2v"
    assert [n.code for n in chosen.notes] == ["test_weights"]
