"""Reading cards.yaml: what is accepted, and that every fault is named."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.kit.cards import MAX_BYTES, CardsError, load_cards, parse_cards

CARD = """
models:
  - id: a-model
    name: A model
    tasks: [text-to-video]
    sizes: {480p: [832x480]}
    default_size: 832x480
    durations: {values: ["5"], default: "5"}
    fps: {default: 16, min: 16, max: 16}
"""
OFFER = """
offers:
  - model: a-model
    adapter: a
    upstream: a-1
    prices:
      - unit: second
        usd: "0.10"
        effective_from: 2026-01-01
        source: {text: a list, date: 2026-01-02, confidence: high}
"""
PRESETS = """
    presets:
      - {{name: whole}}
      - {{name: early, finished_by: {}}}
      - {{name: earlier, finished_by: whole}}
"""


def test_a_sound_file_is_read() -> None:
    cards = parse_cards(CARD + OFFER, "test")
    assert [card.id for card in cards.models] == ["a-model"]
    assert cards.offers[0].id == "a/a-model"
    assert cards.offers[0].prices[0].usd == Decimal("0.10")
    (offer,) = parse_cards(CARD + OFFER + PRESETS.format("whole"), "test").offers
    assert [preset.finished_by for preset in offer.presets] == [None, "whole", "whole"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models: [\n", "line 2"),
        ("", "has to be a mapping"),
        ("- models", "has to be a mapping"),
        (CARD.replace("832x480\n", "640x480\n"), "models.0: Value error, default_size 640x480"),
        (CARD + "    colour: blue\n", "models.0.colour: Extra inputs"),
        (CARD + OFFER + PRESETS.format("gone"), "preset early is finished_by gone, which is no other preset"),
        (CARD + OFFER + PRESETS.format("early"), "there are: whole"),
        (CARD + OFFER + PRESETS.format("earlier"), "there are: whole"),
        (CARD.replace('"5"}', '"6"}'), "models.0.durations"),
        (CARD + OFFER.replace('"0.10"', "0.10"), 'write 0.10 in quotes: "0.10"'),
        (CARD + OFFER.replace('"0.10"', ".inf"), "write .inf in quotes"),
        (CARD + OFFER.replace('"0.10"', '"NaN"'), "offers.0.prices.0.usd"),
        (CARD + OFFER.replace('"0.10"', '"-1"'), "offers.0.prices.0.usd"),
        (CARD + OFFER.replace("2026-01-02", "2026-02-30"), "day is out of range"),
        (CARD + OFFER.replace("source: {text: a list, date: 2026-01-02, confidence: high}", ""), "source"),
        (CARD + "    name: Another\n", "the key 'name' stands twice"),
        ("? [a, b]\n: c", "a key has to be a word"),
        ("models: []\n---\nmodels: []", "single document"),
        ("models: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_a_broken_file_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(CardsError) as refused:
        parse_cards(text, "somebody/cards.yaml")
    assert str(refused.value).startswith("somebody/cards.yaml: ")
    assert named in str(refused.value)


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(CardsError, match="aliases are not allowed"):
        parse_cards("\n".join(lines), "bomb")


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(CardsError, match="nested deeper"):
        parse_cards("[" * 100_000, "deep")


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(CardsError, match="larger than"):
        parse_cards("#" * (MAX_BYTES + 1), "big")


def test_load_cards_reads_the_package_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "strangers_plugin"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CardsError, match=r"strangers_plugin/cards\.yaml: cannot be read"):
        load_cards("strangers_plugin")
    (package / "cards.yaml").write_bytes(b"models: [\xff]")
    with pytest.raises(CardsError, match="is not UTF-8"):
        load_cards("strangers_plugin")
    (package / "cards.yaml").write_text(CARD)
    assert load_cards("strangers_plugin").models[0].id == "a-model"
    sys.modules.pop("strangers_plugin", None)
