"""Where settings come from, which of two wins, and what a wrong one says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gateway.settings import (
    A100_HOURLY_USD,
    CPU_HOURLY_USD,
    Pool,
    Settings,
    SettingsError,
    default_data_dir,
    load_settings,
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "CONFIG", "HOST", "PORT", "PLUGINS", "DATABASE_URL", "KEY_PEPPER"):
        monkeypatch.delenv(f"REELGATE_{name}", raising=False)


def _write(folder: Path, **values: Any) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(values))


def test_with_nothing_given_the_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.data_dir == tmp_path
    assert settings.database_url == f"sqlite:///{tmp_path / 'reelgate.db'}"
    assert (settings.policy, settings.isolation, settings.port) == ("tiered", "process", 8700)
    assert settings.pools == {"cpu": Pool(devices=("cpu",), hourly_usd=CPU_HOURLY_USD)}
    assert settings.enabled_plugins is None
    assert settings.store_dir.parent == settings.run_dir.parent == tmp_path


def test_the_file_wins_over_the_defaults(tmp_path: Path) -> None:
    _write(tmp_path, port=9001, host="0.0.0.0")
    settings = load_settings(tmp_path)
    assert (settings.port, settings.host) == (9001, "0.0.0.0")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, port=9001, host="0.0.0.0")
    monkeypatch.setenv("REELGATE_PORT", "9002")
    settings = load_settings(tmp_path)
    assert (settings.port, settings.host) == (9002, "0.0.0.0")


def test_what_the_caller_names_wins_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, port=9001)
    monkeypatch.setenv("REELGATE_PORT", "9002")
    assert load_settings(tmp_path, port=9003).port == 9003


def test_one_value_inside_a_section_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, plugins={"echo": {"latency_ms": 5, "fail": "none"}})
    monkeypatch.setenv("REELGATE_PLUGINS__ECHO__FAIL", "oom")
    assert load_settings(tmp_path).plugins == {"echo": {"latency_ms": 5, "fail": "oom"}}


def test_the_data_folder_that_is_named_wins_with_all_that_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGATE_DATA_DIR", str(tmp_path / "elsewhere"))
    settings = load_settings(tmp_path / "here")
    assert settings.data_dir == tmp_path / "here"
    assert settings.database_url == f"sqlite:///{tmp_path / 'here' / 'reelgate.db'}"


def test_without_a_name_the_data_folder_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGATE_DATA_DIR", str(tmp_path))
    _write(tmp_path, port=9001)
    settings = load_settings()
    assert (settings.data_dir, settings.port) == (tmp_path, 9001)
    monkeypatch.delenv("REELGATE_DATA_DIR")
    assert default_data_dir() == Path.home() / ".reelgate"


def test_settings_handed_to_a_worker_are_not_changed_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = load_settings(tmp_path, port=9003).model_dump(mode="json", exclude={"key_pepper"})
    monkeypatch.setenv("REELGATE_PORT", "9002")
    monkeypatch.setenv("REELGATE_DATA_DIR", str(tmp_path / "elsewhere"))
    taken = Settings.model_validate(handed)
    assert taken.model_dump(mode="json", exclude={"key_pepper"}) == handed


def test_another_config_file_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("port: 9005\n")
    monkeypatch.setenv("REELGATE_CONFIG", str(other))
    assert load_settings(tmp_path).port == 9005


def test_a_named_database_is_taken_as_it_is(tmp_path: Path) -> None:
    url = "postgresql+psycopg://gateway@db.internal/reelgate"
    assert load_settings(tmp_path, database_url=url).database_url == url


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    assert load_settings(tmp_path).port == 8700


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port: [", "cannot read"),
        ("- port\n", "must hold a mapping"),
        ("prot: 1\n", "prot: Extra inputs are not permitted"),
        ("port: many\n", "port: Input should be a valid integer"),
        ("port: 70000\n", "port: Input should be less than or equal to 65535"),
        ("tiers: []\n", "tiers: Tuple should have at least 1 item"),
        ("pools: {gpu: {devices: []}}\n", "pools.gpu.devices: Tuple should have at least 1 item"),
        ('pools: {gpu: {devices: [cpu], hourly_usd: "0"}}\n', "pools.gpu.hourly_usd"),
        ("pools: {gpu: {devices: [cpu], rate: 1}}\n", "pools.gpu.rate: Extra inputs are not permitted"),
        ("offers: [{model: m}]\n", "offers.0.adapter: Field required"),
    ],
)
def test_a_wrong_file_is_named_with_the_key_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / "config.yaml") in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SettingsError, match=r"config\.yaml"):
        load_settings(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("PORT", "many"), ("POOLS", "{not json")])
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"REELGATE_{name}", value)
    with pytest.raises(SettingsError, match=name.lower()):
        load_settings(tmp_path)


def test_a_misspelt_variable_cannot_pass_as_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGATE_PROT", "3")
    with pytest.raises(SettingsError, match="REELGATE_PROT names no setting"):
        load_settings(tmp_path)


def test_a_wrong_value_is_not_repeated_in_the_message(tmp_path: Path) -> None:
    _write(tmp_path, key_pepper=["s3cret-pepper"])
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    assert "s3cret" not in str(caught.value)


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, key_pepper="s3cret-pepper")
    assert settings.key_pepper is not None
    assert settings.key_pepper.get_secret_value() == "s3cret-pepper"
    assert "s3cret" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("devices", "rate"),
    [
        (["cuda:0", "cuda:1"], A100_HOURLY_USD),
        (["cuda"], A100_HOURLY_USD),
        (["cpu"], CPU_HOURLY_USD),
    ],
)
def test_a_pool_without_a_rate_has_its_devices_default(devices: list[str], rate: Decimal) -> None:
    assert Pool.model_validate({"devices": devices}).hourly_usd == rate
    assert Pool.model_validate({"devices": devices, "hourly_usd": "3.10"}).hourly_usd == Decimal("3.10")


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # that it is refused is the test


@pytest.mark.parametrize("field", ["result_origins", "image_origins"])
def test_an_origin_is_scheme_host_and_port_and_nothing_else(tmp_path: Path, field: str) -> None:
    for good in ("http://10.0.0.5:9000", "https://store.internal", "http://[::1]:9000"):
        assert getattr(load_settings(tmp_path, **{field: (good,)}), field) == (good,)
    for bad in (
        *("10.0.0.5:9000", "http://10.0.0.5:9000/", "http://10.0.0.5/bucket", "http://10.0.0.5?x", "ftp://a"),
        *("http://user@10.0.0.5", "http://:9000", "http://10.0.0.5:x", "http://10.0.0.5:0", "http://*", ""),
    ):
        with pytest.raises(SettingsError, match=f"{field}.*http://10.0.0.5:9000"):
            load_settings(tmp_path, **{field: (bad,)})
