"""Our own cards: complete, sourced, consistent, and a few figures everybody knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib import import_module

import pytest

from adapters.wan_local._options import PresetParams
from gateway.catalog import Catalog
from gateway.spec import Cards, ModelCard, Offer, Price, SizeBounds

MODELS = {
    "wan-2.2-t2v-a14b": "wan_local",
    "wan-2.2-i2v-a14b": "wan_local",
    "wan-2.2-ti2v-5b": "wan_local",
    "wan-2.2-nano-t2v": "wan_local",
    "wan-2.2-nano-i2v": "wan_local",
    "wan-2.2-nano-ti2v": "wan_local",
    "wan-2.2-t2v-a14b-tiny": "wan_local",
    "wan-2.2-i2v-a14b-tiny": "wan_local",
    "wan-2.2-ti2v-5b-tiny": "wan_local",
    "veo-3.1": "veo",
    "veo-3.1-fast": "veo",
    "veo-3.1-lite": "veo",
    "kling-3.0": "kling",
    "kling-3.0-omni": "kling",
    "kling-3.0-turbo": "kling",
    "kling-2.6": "kling",
    "kling-2.5-turbo": "kling",
    "kling-2.1": "kling",
    "kling-2.0": "kling",
    "sora-2": "openai_videos",
    "sora-2-pro": "openai_videos",
    "seedance-1.0-pro": "seedance",
    "seedance-1.5-pro": "seedance",
    "wan-2.2-t2v-plus": "dashscope_wan",
    "wan-2.6": "dashscope_wan",
    "gemini-omni-1.1": "gemini_omni",
    "gemini-omni-1.2": "gemini_omni",
}
TODAY = date(2026, 11, 27)


def offers(catalog: Catalog) -> Iterator[tuple[ModelCard, Offer]]:
    return ((card, offer) for card in catalog.cards for offer in card.offers)


def offer_of(catalog: Catalog, offer_id: str) -> Offer:
    found = catalog.offer(offer_id)
    assert found is not None, offer_id
    return found[1]


def line(catalog: Catalog, offer_id: str, resolution: str, audio: bool, preset: str) -> Price:
    """The one price line that applies."""
    matching = [
        price
        for price in offer_of(catalog, offer_id).prices
        if (not price.resolutions or resolution in price.resolutions)
        and price.audio in (None, audio)
        and (not price.presets or preset in price.presets)
    ]
    assert len(matching) == 1, matching
    return matching[0]


def test_every_model_is_there_with_its_owner_and_nothing_is_left_out(
    files: dict[str, Cards], catalog: Catalog
) -> None:
    assert catalog.problems == ()
    owners = {card.id: plugin for plugin, cards in files.items() for card in cards.models}
    assert MODELS.items() <= owners.items()
    assert all(card.offers for card in catalog.cards)


@pytest.mark.parametrize("plugin", sorted({*MODELS.values()} - {"wan_local"}))
def test_the_plugin_registers_its_file(plugin: str, files: dict[str, Cards]) -> None:
    assert import_module(f"adapters.{plugin}").register_cards() == [files[plugin]]


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        ("wan-22-t2v", "wan-2.2-t2v-a14b"),
        ("veo-31-standard", "veo-3.1"),
        ("kling-30-omni", "kling-3.0-omni"),
    ],
)
def test_aliases_resolve(catalog: Catalog, alias: str, model: str) -> None:
    assert catalog.find(alias) is catalog.find(model) is not None


def test_every_figure_has_a_source_with_its_day(catalog: Catalog) -> None:
    sourced = [(card.id, card.sources) for card in catalog.cards]
    sourced += [(offer.id, (price.source,)) for _, offer in offers(catalog) for price in offer.prices]
    sourced += [
        (offer.id, (time.source,))
        for _, offer in offers(catalog)
        for preset in offer.presets
        for time in preset.times
    ]
    for who, sources in sourced:
        assert sources, who
        assert all(source.text and date(2026, 1, 1) <= source.date <= TODAY for source in sources), who


def test_every_date_of_a_lifecycle_has_a_source(catalog: Catalog) -> None:
    lives = [(card.id, card.lifecycle) for card in catalog.cards]
    lives += [(offer.id, offer.lifecycle) for _, offer in offers(catalog)]
    for who, life in lives:
        if life.model_dump(exclude={"source"}, exclude_none=True):
            assert life.source is not None, who
        assert life.successor is None or catalog.find(life.successor), who


def test_a_price_line_speaks_of_what_its_offer_has(catalog: Catalog) -> None:
    for card, offer in offers(catalog):
        presets = {preset.name for preset in offer.presets}
        for price in offer.prices:
            assert set(price.presets) <= presets, offer.id
            assert isinstance(card.sizes, SizeBounds) or set(price.resolutions) <= set(card.sizes), offer.id
        for preset in offer.presets:
            resolutions = {time.resolution for time in preset.times if time.resolution}
            assert isinstance(card.sizes, SizeBounds) or resolutions <= set(card.sizes), offer.id


def test_no_two_lines_price_the_same_clip(catalog: Catalog) -> None:
    for card, offer in offers(catalog):
        resolutions = [""] if isinstance(card.sizes, SizeBounds) else list(card.sizes)
        for resolution in resolutions:
            for audio in (False, True):
                for preset in offer.presets:
                    matching = [
                        price
                        for price in offer.prices
                        if (not price.resolutions or resolution in price.resolutions)
                        and price.audio in (None, audio)
                        and (not price.presets or preset.name in price.presets)
                    ]
                    assert len(matching) <= 1, (offer.id, resolution, audio, preset.name)


def test_cards_survive_a_json_round_trip(files: dict[str, Cards], catalog: Catalog) -> None:
    for cards in files.values():
        assert Cards.model_validate_json(cards.model_dump_json()) == cards
    for card in catalog.cards:
        assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_test_weights_never_bear_a_real_models_name(catalog: Catalog) -> None:
    test_cards = [card for card in catalog.cards if card.test_weights]
    real = {name for card in catalog.cards if not card.test_weights for name in (card.id, *card.aliases)}
    assert {card.id for card in test_cards if card.id.startswith("wan")} == {
        id for id in MODELS if id.endswith("-tiny") or "-nano-" in id
    }
    for card in test_cards:
        assert not card.aliases
        assert card.id not in real
        assert card.name not in {other.name for other in catalog.cards if not other.test_weights}
        assert all(offer.pool != "gpu" for offer in card.offers)


@pytest.mark.parametrize(
    ("offer_id", "retired_on", "not_before"),
    [
        ("openai_videos/sora-2/openai", date(2026, 9, 24), None),
        ("openai_videos/sora-2-pro/openai", date(2026, 9, 24), None),
        ("openai_videos/sora-2-pro/azure", None, None),
        ("veo/veo-3.1/gemini-api", date(2026, 10, 22), None),
        ("veo/veo-3.1-fast/gemini-api", date(2026, 10, 22), None),
        ("veo/veo-3.1-lite/gemini-api", date(2026, 10, 22), None),
        ("veo/veo-3.1-lite/vertex", None, None),
        ("veo/veo-3.1/vertex", None, date(2026, 11, 17)),
        ("veo/veo-3.1-fast/vertex", None, date(2026, 11, 17)),
    ],
)
def test_ends_are_as_documented(
    catalog: Catalog, offer_id: str, retired_on: date | None, not_before: date | None
) -> None:
    life = offer_of(catalog, offer_id).lifecycle
    assert (life.retired_on, life.retires_not_before) == (retired_on, not_before)


def test_no_model_is_retired_while_it_may_still_be_had(catalog: Catalog) -> None:
    assert not [card.id for card in catalog.cards if card.lifecycle.retired(TODAY)]
    azure = offer_of(catalog, "openai_videos/sora-2/azure").lifecycle
    assert (azure.deprecated, azure.retired_on) == (date(2026, 11, 2), None)


@pytest.mark.parametrize(
    ("offer_id", "resolution", "audio", "preset", "usd", "unit"),
    [
        ("veo/veo-3.1/vertex", "720p", True, "standard", "0.40", "second"),
        ("veo/veo-3.1/gemini-api", "4k", True, "standard", "0.60", "second"),
        ("veo/veo-3.1-fast/vertex", "1080p", True, "standard", "0.12", "second"),
        ("veo/veo-3.1-lite/vertex", "1080p", True, "standard", "0.08", "second"),
        ("kling/kling-3.0/singapore", "720p", False, "standard", "0.084", "second"),
        ("kling/kling-3.0/singapore", "1080p", True, "standard", "0.168", "second"),
        ("kling/kling-3.0-omni/singapore", "1080p", True, "standard", "0.14", "second"),
        ("kling/kling-3.0-omni/singapore", "4k", True, "standard", "0.42", "second"),
        ("kling/kling-2.0/singapore", "1080p", False, "standard", "0.28", "second"),
        ("openai_videos/sora-2/openai", "720p", True, "standard", "0.10", "second"),
        ("openai_videos/sora-2-pro/openai", "720p", True, "standard", "0.30", "second"),
        ("seedance/seedance-1.0-pro/ap-southeast", "1080p", False, "standard", "2.5", "token"),
        ("seedance/seedance-1.5-pro/ap-southeast", "720p", True, "standard", "2.4", "token"),
        ("seedance/seedance-1.5-pro/ap-southeast", "720p", False, "flex", "0.6", "token"),
        ("dashscope_wan/wan-2.2-t2v-plus/singapore", "480p", False, "standard", "0.02", "second"),
        ("dashscope_wan/wan-2.6-t2v/beijing", "1080p", True, "standard", "0.143353", "second"),
        ("gemini_omni/gemini-omni-1.1/gemini-api", "720p", True, "standard", "17.50", "token"),
    ],
)
def test_well_known_prices(
    catalog: Catalog, offer_id: str, resolution: str, audio: bool, preset: str, usd: str, unit: str
) -> None:
    found = line(catalog, offer_id, resolution, audio, preset)
    assert (found.usd, found.unit) == (Decimal(usd), unit)
    assert found.source.confidence != "low"


@pytest.mark.parametrize(
    ("offer_id", "resolution"),
    [
        ("openai_videos/sora-2-pro/openai", "1080p"),
        ("dashscope_wan/wan-2.6-t2v/singapore", "720p"),
        ("gemini_omni/gemini-omni-1.1/gemini-api", "4k"),
    ],
)
def test_guessed_prices_say_so(catalog: Catalog, offer_id: str, resolution: str) -> None:
    assert line(catalog, offer_id, resolution, True, "standard").source.confidence == "low"


def test_local_offers_are_priced_by_device_time_and_can_be_estimated(catalog: Catalog) -> None:
    for card, offer in offers(catalog):
        if offer.adapter != "wan_local":
            continue
        assert [price.unit for price in offer.prices] == ["device_second"]
        covered = {None} if isinstance(card.sizes, SizeBounds) else set(card.sizes)
        for preset in offer.presets:
            assert {time.resolution for time in preset.times} == covered, (offer.id, preset.name)


def test_a_prefix_preview_takes_the_first_steps_of_the_official_render(catalog: Catalog) -> None:
    local = [offer for _, offer in offers(catalog) if offer.adapter == "wan_local"]
    assert len(local) == 9
    for offer in local:
        official, prefix = offer.presets[0], offer.presets[-1]
        assert (official.name, prefix.name, prefix.finished_by) == ("official", "prefix", "official")
        assert prefix.params == {**official.params, "preview_steps": prefix.params["preview_steps"]}
        assert 0 < prefix.params["preview_steps"] < official.params["steps"]
        for whole, part in zip(official.times, prefix.times, strict=True):
            assert (part.resolution, part.clip_seconds) == (whole.resolution, whole.clip_seconds)
            assert part.seconds < whole.seconds
            assert part.source.confidence == "low"


def test_the_local_adapter_understands_every_preset(catalog: Catalog) -> None:
    presets = [p for _, offer in offers(catalog) if offer.adapter == "wan_local" for p in offer.presets]
    assert presets
    for preset in presets:
        PresetParams.model_validate(preset.params)
