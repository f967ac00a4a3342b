"""Usage into money: exact decimals, rounded once, at the price that was in force."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.catalog.prices import (
    MissingPrice,
    PriceTerms,
    cost,
    from_micro_usd,
    price_terms,
    reference_ms,
    to_micro_usd,
)
from gateway.spec import ModelCard, Offer, Output, Price, Usage

TODAY = date(2026, 12, 3)
SOURCE = {"text": "a test's own list", "date": "2026-01-01", "confidence": "high"}


def _price(**fields: Any) -> dict[str, Any]:
    return {"unit": "second", "usd": "0.10", "effective_from": "2026-01-01", "source": SOURCE, **fields}


def _card(*prices: dict[str, Any], **offer: Any) -> ModelCard:
    preset = {"name": "standard", "times": offer.pop("times", [])}
    offers = [{"model": "m", "adapter": "a", "upstream": "u", "presets": [preset], "prices": prices, **offer}]
    return ModelCard.model_validate(
        {
            "id": "m",
            "name": "M",
            "tasks": ["text-to-video", "image-to-video"],
            "sizes": {"480p": ["832x480"], "720p": ["1280x720"]},
            "default_size": "832x480",
            "durations": {"min": "1", "max": "600", "default": "5"},
            "fps": {"default": 16, "min": 1, "max": 60},
            "audio": "optional",
            "offers": offers,
        }
    )


def _output(**fields: Any) -> Output:
    return Output(**{"size": "832x480", "seconds": Decimal(5), "fps": 16, "audio": False, **fields})


def _terms(card: ModelCard, today: date = TODAY, **fields: Any) -> PriceTerms:
    offer = card.offers[0]
    task = fields.pop("task", "text-to-video")
    rate = fields.pop("hourly_usd", None)
    return price_terms(card, offer, offer.presets[0], _output(**fields), task, today, rate)


def _cost(price: dict[str, Any], usage: Usage | None = None, **output: Any) -> Decimal:
    return cost(_terms(_card(price), **output), _output(**output), usage or Usage())


@pytest.mark.parametrize(
    ("usd", "micro"),
    [
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("0.00000250000000000000000000001", 3),
        ("0.0000024999", 2),
        ("1.64", 1_640_000),
    ],
)
def test_money_is_rounded_half_even(usd: str, micro: int) -> None:
    assert to_micro_usd(Decimal(usd)) == micro


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**15))
def test_micro_dollars_survive_the_way_to_dollars_and_back(micro: int) -> None:
    assert to_micro_usd(from_micro_usd(micro)) == micro


def test_parts_of_a_micro_dollar_are_kept_until_the_end() -> None:
    terms = _terms(_card(_price(usd="0.0000004")))
    assert to_micro_usd(cost(terms, _output(seconds=Decimal(5)), Usage())) == 2, (
        "five times 0, were each rounded"
    )


def test_seconds_are_the_providers_where_it_tells_them_else_the_planned() -> None:
    assert _cost(_price()) == Decimal("0.50")
    assert _cost(_price(), Usage(seconds=Decimal("4.2"))) == Decimal("0.42")
    assert _cost(_price(), Usage(seconds=Decimal(0))) == 0


def test_a_clip_costs_the_same_whatever_its_length() -> None:
    for seconds in (1, 600):
        assert _cost(_price(unit="clip", usd="0.35"), seconds=Decimal(seconds)) == Decimal("0.35")


def test_planned_tokens_are_pixels_by_frames_over_the_divisor() -> None:
    price = _price(unit="token", usd="2.50", per=1_000_000, tokens_per_second_divisor=1024)
    tokens = Fraction(1280 * 720 * 24 * 5, 1024)
    planned = _cost(price, size="1280x720", fps=24)
    assert Fraction(planned) == tokens * Fraction("2.5") / 1_000_000
    assert _cost(price, Usage(tokens=1_000), size="1280x720", fps=24) == Decimal("0.0025")


def test_device_time_costs_the_slots_hourly_rate() -> None:
    price = _price(unit="device_second", usd=None)
    terms = _terms(_card(price, pool="gpu"), hourly_usd=Decimal("1.64"))
    assert cost(terms, _output(), Usage(device_ms=3_600_000)) == Decimal("1.64")
    assert to_micro_usd(cost(terms, _output(), Usage(device_ms=1))) == 0
    with pytest.raises(MissingPrice, match="device time is not known"):
        cost(terms, _output(), Usage(seconds=Decimal(5)))


def test_a_slot_without_a_rate_has_no_price() -> None:
    with pytest.raises(MissingPrice, match="pool 'gpu' has no hourly rate"):
        _terms(_card(_price(unit="device_second", usd=None), pool="gpu"))


def test_without_a_line_there_is_no_price_and_never_zero() -> None:
    with pytest.raises(MissingPrice, match="no price is known"):
        _terms(_card())


@pytest.mark.parametrize(
    ("day", "usd"), [("2026-01-01", "0.10"), ("2026-11-30", "0.10"), ("2026-12-01", "0.20")]
)
def test_the_line_in_force_on_the_day_counts(day: str, usd: str) -> None:
    card = _card(_price(effective_to="2026-12-01"), _price(usd="0.20", effective_from="2026-12-01"))
    assert _terms(card, date.fromisoformat(day)).usd == Decimal(usd)


@pytest.mark.parametrize("day", ["2025-12-31", "2026-06-01"])
def test_before_its_first_day_and_from_its_last_a_line_is_none(day: str) -> None:
    with pytest.raises(MissingPrice):
        _terms(_card(_price(effective_to="2026-06-01")), date.fromisoformat(day))


def test_of_two_lines_in_force_the_newer_counts() -> None:
    card = _card(_price(usd="0.20", effective_from="2026-06-01"), _price(usd="0.10"))
    assert _terms(card).usd == Decimal("0.20")


def test_a_guess_is_no_price_and_says_so() -> None:
    guess = _price(usd="0.01", effective_from="2026-11-01", source={**SOURCE, "confidence": "low"})
    with pytest.raises(MissingPrice, match="only an unverified price is known"):
        _terms(_card(guess))
    assert _terms(_card(guess, _price())).usd == Decimal("0.10"), "a sourced line wins over a newer guess"


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ({"resolutions": ["720p"]}, {"size": "1280x720"}),
        ({"audio": True}, {"audio": True}),
        ({"tasks": ["image-to-video"]}, {"task": "image-to-video"}),
    ],
)
def test_a_line_with_a_condition_counts_only_where_it_holds(
    condition: dict[str, Any], asked: dict[str, Any]
) -> None:
    card = _card(_price(usd="0.30", **condition))
    assert _terms(card, **asked).usd == Decimal("0.30")
    with pytest.raises(MissingPrice, match="no price is known"):
        _terms(card)


def test_a_line_for_another_preset_does_not_count() -> None:
    with pytest.raises(MissingPrice):
        _terms(_card(_price(presets=["turbo"])))


def test_the_version_names_the_line_and_changes_with_it() -> None:
    one, same, other = (_terms(_card(_price(usd=usd))) for usd in ("0.10", "0.10", "0.11"))
    assert one.version == same.version != other.version
    assert one.version.startswith("2026-01-01.")
    assert PriceTerms.model_validate_json(one.model_dump_json()) == one


def test_a_reference_time_is_scaled_by_the_clips_frames() -> None:
    times = [
        {"resolution": "720p", "clip_seconds": "5", "seconds": "800", "source": SOURCE},
        {"resolution": "480p", "clip_seconds": "5", "seconds": "240", "source": SOURCE},
    ]
    card = _card(times=times)
    preset = card.offers[0].presets[0]

    def ms(**fields: Any) -> int | None:
        return reference_ms(card, preset, _output(**fields))

    assert ms() == 240_000
    assert ms(size="1280x720") == 800_000
    assert ms(seconds=Decimal(10)) == 480_000
    assert ms(fps=8) == 120_000
    assert ms(fps=24, seconds=Decimal("2.5")) == 180_000


def test_without_a_figure_for_its_resolution_there_is_no_reference_time() -> None:
    card = _card(times=[{"resolution": "720p", "clip_seconds": "5", "seconds": "800", "source": SOURCE}])
    assert reference_ms(card, card.offers[0].presets[0], _output()) is None
    everywhere = _card(times=[{"clip_seconds": "5", "seconds": "10", "source": SOURCE}])
    assert reference_ms(everywhere, everywhere.offers[0].presets[0], _output()) == 10_000


amounts = st.decimals(min_value="0.000001", max_value="100", places=6)
lengths = st.decimals(min_value="0.001", max_value="600", places=3)
pers = st.sampled_from([1, 7, 1000, 1_000_000])
days = st.integers(min_value=0, max_value=400).map(lambda n: date(2026, 1, 1) + timedelta(days=n))


@settings(deadline=None)
@given(usd=amounts, seconds=lengths, per=pers, today=days)
def test_a_price_by_the_second_is_exact_to_the_micro_dollar(
    usd: Decimal, seconds: Decimal, per: int, today: date
) -> None:
    terms = _plain(usd, per, today)
    exact = Fraction(usd) * Fraction(seconds) / per * 1_000_000
    assert to_micro_usd(cost(terms, _output(seconds=seconds), Usage())) == round(exact)


@settings(deadline=None)
@given(usd=amounts, tokens=st.integers(0, 10**9), per=pers)
def test_a_price_by_the_token_is_exact_to_the_micro_dollar(usd: Decimal, tokens: int, per: int) -> None:
    terms = PriceTerms(version="1", unit="token", usd=usd, per=per, tokens_per_second_divisor=1024)
    exact = Fraction(usd) * tokens / per * 1_000_000
    assert to_micro_usd(cost(terms, _output(), Usage(tokens=tokens))) == round(exact)


@settings(deadline=None)
@given(rate=amounts, ms=st.integers(0, 10**9))
def test_device_time_is_exact_to_the_micro_dollar(rate: Decimal, ms: int) -> None:
    terms = PriceTerms(version="1", unit="device_second", hourly_usd=rate)
    exact = Fraction(rate) * ms / 3_600_000 * 1_000_000
    assert to_micro_usd(cost(terms, _output(), Usage(device_ms=ms))) == round(exact)


@settings(deadline=None)
@given(usd=amounts, one=lengths, other=lengths, per=pers, unit=st.sampled_from(["second", "clip", "token"]))
def test_a_longer_clip_never_costs_less(
    usd: Decimal, one: Decimal, other: Decimal, per: int, unit: Any
) -> None:
    terms = PriceTerms(version="1", unit=unit, usd=usd, per=per, tokens_per_second_divisor=1024)
    shorter, longer = (
        to_micro_usd(cost(terms, _output(seconds=seconds), Usage())) for seconds in sorted([one, other])
    )
    assert shorter <= longer


def _plain(usd: Decimal, per: int, today: date) -> PriceTerms:
    """The terms of an offer with this one line, found as they are for a job."""
    line = Price.model_validate(_price(usd=usd, per=per))
    card = _card()
    offer: Offer = card.offers[0].model_copy(update={"prices": (line,)})
    return price_terms(card, offer, offer.presets[0], _output(), "text-to-video", today, None)
