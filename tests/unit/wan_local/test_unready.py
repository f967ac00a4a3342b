"""What can run, as configured, and which setting is missing for the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.wan_local import _weights
from adapters.wan_local._adapter import WanLocal
from gateway.spec import Cards, Offer, Unready

MakesAdapters = Callable[..., WanLocal]
Offers = Callable[[str], Offer]
T2V, I2V, TI2V = "wan-2.2-t2v-a14b", "wan-2.2-i2v-a14b", "wan-2.2-ti2v-5b"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
EMPTY, HERE = "EMPTY", "HERE"


def _code(found: Unready | None) -> str | None:
    return found.code if found else None


@pytest.mark.parametrize(
    ("settings", "real", "fast", "ours"),
    [
        ({}, "no_weights", "no_distilled_weights", None),
        ({"folders": {T2V: HERE}}, None, "no_distilled_weights", "test_weights_off"),
        ({"distilled": {T2V: HERE}}, "no_weights", None, "test_weights_off"),
        ({"folders": {T2V: HERE}, "distilled": {T2V: HERE}}, None, None, "test_weights_off"),
        ({"folders": {T2V: EMPTY}}, "no_weights", "no_distilled_weights", "test_weights_off"),
        ({"folders": {T2V: "/no/such/place"}}, "no_weights", "no_distilled_weights", "test_weights_off"),
        ({"distilled": {T2V: EMPTY}}, "no_weights", "no_distilled_weights", "test_weights_off"),
        ({"folders": {T2V: "an-org/a-repo"}}, "no_weights", "no_distilled_weights", "test_weights_off"),
        (
            {"folders": {T2V: "an-org/a-repo"}, "revisions": {T2V: COMMIT}},
            None,
            "no_distilled_weights",
            "test_weights_off",
        ),
        ({"folders": {TI2V: HERE}}, "no_weights", "no_distilled_weights", "test_weights_off"),
    ],
)
def test_each_preset_says_what_it_lacks(
    make: MakesAdapters,
    offer: Offers,
    tmp_path: Path,
    settings: dict[str, dict[str, str]],
    real: str | None,
    fast: str | None,
    ours: str | None,
) -> None:
    (tmp_path / EMPTY).mkdir()
    (tmp_path / HERE).mkdir()
    (tmp_path / HERE / "model_index.json").write_text("{}")
    there = {EMPTY: str(tmp_path / EMPTY), HERE: str(tmp_path / HERE)}
    adapter = make(**{k: {m: there.get(w, w) for m, w in v.items()} for k, v in settings.items()})
    assert _code(adapter.unready(offer(T2V), "official")) == real
    assert _code(adapter.unready(offer(T2V), "fast")) == fast
    for small in ("wan-2.2-nano-t2v", f"{T2V}-tiny"):
        assert _code(adapter.unready(offer(small), "official")) == ours


def test_the_reason_names_the_setting_and_no_path(make: MakesAdapters, offer: Offers, tmp_path: Path) -> None:
    for settings in ({}, {"folders": {I2V: str(tmp_path / "gone")}}):
        reason = make(**settings).unready(offer(I2V), "official")
        assert reason is not None
        assert f"plugins.wan_local.folders.{I2V}" in reason.detail
        assert str(tmp_path) not in reason.detail


def test_a_folder_that_appears_is_seen(make: MakesAdapters, offer: Offers, tmp_path: Path) -> None:
    adapter = make(folders={T2V: str(tmp_path / "later")})
    assert _code(adapter.unready(offer(T2V), "official")) == "no_weights"
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "model_index.json").write_text("{}")
    assert adapter.unready(offer(T2V), "official") is None


def test_without_the_extra_nothing_is_ready(
    make: MakesAdapters, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_weights, "_NEEDED", ("no_such_package_here",))
    _weights.missing_extra.cache_clear()
    try:
        for offer in cards.offers:
            for preset in offer.presets:
                reason = make().unready(offer, preset.name)
                assert reason is not None
                assert reason.code == "extra_missing"
                assert "pip install 'reelgate[wan]'" in reason.detail
    finally:
        _weights.missing_extra.cache_clear()


def test_an_operators_offer_runs_on_the_model_it_names_upstream(make: MakesAdapters, offer: Offers) -> None:
    tiny = offer(f"{T2V}-tiny")
    own = tiny.model_copy(update={"model": "anything", "id": "mine"})
    assert make().unready(own, "official") is None
    wrong = make().unready(own.model_copy(update={"upstream": "wan-9"}), "official")
    assert wrong is not None
    assert wrong.code == "unknown_model"
    assert T2V in wrong.detail


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"folders": {"wan-9": "/x"}}, T2V),
        ({"distilled": {"wan-9": "/x"}}, TI2V),
        ({"folder": {}}, "folder"),
        ({"folders": {T2V: ""}}, T2V),
        ({"revisions": {T2V: "main"}}, "revisions"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_settings_are_read_strictly(make: MakesAdapters, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"wan_local.*{says}"):
        make(**settings)
