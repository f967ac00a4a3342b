"""The join of what several plugins and the operator bring."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalog import Catalog
from gateway.spec import Cards, ModelCard, Offer


def model(id: str, *aliases: str, **fields: Any) -> ModelCard:
    whole: dict[str, Any] = {
        "id": id,
        "name": id,
        "aliases": aliases,
        "tasks": ["text-to-video"],
        "sizes": {"480p": ["832x480"]},
        "default_size": "832x480",
        "durations": {"values": ["5"], "default": "5"},
        "fps": {"default": 16, "min": 16, "max": 16},
        **fields,
    }
    return ModelCard.model_validate(whole)


def offer(model: str, adapter: str = "remote", **fields: Any) -> Offer:
    return Offer.model_validate({"model": model, "adapter": adapter, "upstream": model, **fields})


def plugin(name: str, *parts: ModelCard | Offer) -> tuple[str, Cards]:
    models = tuple(part for part in parts if isinstance(part, ModelCard))
    offers = tuple(part for part in parts if isinstance(part, Offer))
    return name, Cards(models=models, offers=offers)


def problems(catalog: Catalog) -> list[tuple[str, str]]:
    return [(problem.origin, problem.code) for problem in catalog.problems]


def test_offers_of_any_plugin_and_of_the_operator_stand_under_their_model() -> None:
    catalog = Catalog.join(
        [plugin("reseller", offer("m", "fal")), plugin("owner", model("m"), offer("m", "own"))],
        [offer("m", "vllm")],
    )
    assert problems(catalog) == []
    assert [found.adapter for found in catalog.cards[0].offers] == ["fal", "own", "vllm"]
    found = catalog.offer("own/m")
    assert found is not None
    assert (found[0], found[1].id) == (catalog.cards[0], "own/m")
    assert catalog.offer("nobody/m") is None


def test_of_two_plugins_with_one_model_the_later_is_refused() -> None:
    catalog = Catalog.join(
        [plugin("a", model("m", name="the first")), plugin("b", model("m", name="second"))]
    )
    assert [card.name for card in catalog.cards] == ["the first"]
    assert problems(catalog) == [("b", "duplicate_model")]
    assert "plugin a owns it" in catalog.problems[0].detail


def test_an_alias_that_is_taken_is_refused_and_the_card_stays() -> None:
    catalog = Catalog.join([plugin("a", model("m", "short")), plugin("b", model("n", "short", "own"))])
    assert problems(catalog) == [("b", "duplicate_alias")]
    assert catalog.find("short") is catalog.cards[0]
    assert catalog.find("own") is catalog.cards[1]
    assert catalog.cards[1].aliases == ("own",)


def test_no_alias_takes_a_model_its_name_whoever_comes_first() -> None:
    catalog = Catalog.join([plugin("a", model("m", "real")), plugin("z", model("real"))])
    found = catalog.find("real")
    assert found is not None
    assert found.id == "real"
    assert problems(catalog) == [("a", "duplicate_alias")]


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "no installed plugin has a card for gone"), ("short", "by id, m")]
)
def test_an_offer_for_an_unknown_model_is_told_and_never_joined(name: str, said: str) -> None:
    catalog = Catalog.join([plugin("a", model("m", "short")), plugin("b", offer(name))], [offer(name, "own")])
    assert problems(catalog) == [("b", "unknown_model"), ("settings", "unknown_model")]
    assert said in catalog.problems[0].detail
    assert catalog.cards[0].offers == ()
    assert catalog.offer(f"remote/{name}") is None


def test_a_duplicate_offer_id_is_refused_even_for_another_model() -> None:
    catalog = Catalog.join(
        [
            plugin("a", model("m"), model("n"), offer("m", id="x", upstream="first")),
            plugin("b", offer("n", id="x")),
        ]
    )
    assert problems(catalog) == [("b", "duplicate_offer")]
    found = catalog.offer("x")
    assert found is not None
    assert found[1].upstream == "first"


def test_offers_inside_a_model_are_told_and_not_taken() -> None:
    catalog = Catalog.join([plugin("a", model("m", offers=[offer("m")]))])
    assert problems(catalog) == [("a", "misplaced_offer")]
    assert catalog.cards[0].offers == ()


def test_the_nearest_name_answers_with_an_id() -> None:
    catalog = Catalog.join([plugin("a", model("kling-3.0", "kling-thirty"), model("veo-3.1"))])
    assert catalog.nearest("Kling-3") == "kling-3.0"
    assert catalog.nearest("kling-thirsty") == "kling-3.0"
    assert catalog.nearest("zzz") is None


def test_an_empty_catalog_is_sound() -> None:
    catalog = Catalog.join([])
    assert (catalog.cards, catalog.problems, catalog.find("m"), catalog.nearest("m")) == ((), (), None, None)
