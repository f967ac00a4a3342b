"""What a start refuses, and what it leaves private."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.runtime import Runtime
from gateway.settings import Settings, SettingsError, load_settings


@pytest.fixture
def make_settings(tmp_path: Path, empty_database_url: str) -> Callable[..., Settings]:
    """Settings of a deployment that was never started."""
    given = {"database_url": empty_database_url, "enabled_plugins": ("echo", "policies")}
    return lambda **overrides: load_settings(tmp_path / "fresh", **{**given, **overrides})


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"policy": "no-such"}, "policy: no plugin brings 'no-such'; there are: best_quality, cheapest"),
        (
            {"policies": {"tiered": {"slots": {"preview": {"text-to-video": [{"model": "gone"}]}}}}},
            "no model is named 'gone'",
        ),
        ({"policies": {"tiered": {"slot": {}}}}, "slot"),
    ],
)
def test_a_routing_policy_that_cannot_work_stops_the_start(
    make_settings: Callable[..., Settings], overrides: dict[str, Any], says: str
) -> None:
    runtime = Runtime.open(make_settings(**overrides))
    try:
        with pytest.raises(SettingsError, match=says):
            runtime.start()
    finally:
        runtime.close()


def test_a_fresh_data_folder_is_its_owners_alone(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    Runtime.open(settings).close()
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700


def test_no_slot_has_two_masters(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(isolation="none")
    first, second = Runtime.open(settings), Runtime.open(settings)
    try:
        first.start()
        with pytest.raises(SettingsError, match="slot cpu/0 belongs to another process"):
            second.start()
    finally:
        second.close()
        first.close()
