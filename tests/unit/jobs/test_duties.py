"""Which process does what: everything, what is named, or nothing but the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.jobs.duties import SETTLES, SUBMITS_PER_ACCOUNT, Duties
from gateway.jobs.runtime import open_registry
from gateway.registry import Registry
from gateway.settings import Settings, SettingsError, load_settings

ACCOUNT = "account.echo_remote.default"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    pools = {"gpu": {"devices": ["cuda:0", "cuda:1"]}, "cpu": {"devices": ["cpu"]}}
    return load_settings(tmp_path, enabled_plugins=("echo", "policies"), pools=pools)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


def _slots(duties: Duties) -> list[str]:
    return [f"{device.pool}/{device.slot} {device.kind}" for device in duties.devices]


def test_by_default_everything(settings: Settings, registry: Registry) -> None:
    duties = Duties.chosen(settings, registry)
    assert duties.queues == {"settle": SETTLES, ACCOUNT: SUBMITS_PER_ACCOUNT}
    assert duties.watch
    assert _slots(duties) == ["gpu/0 cuda:0", "gpu/1 cuda:1", "cpu/0 cpu"]


@pytest.mark.parametrize(
    ("queues", "slots", "shown"),
    [
        (["none"], ["gpu"], ({}, False, ["gpu/0 cuda:0", "gpu/1 cuda:1"])),
        (["none"], ["gpu/1", "cpu"], ({}, False, ["gpu/1 cuda:1", "cpu/0 cpu"])),
        (["settle"], ["none"], ({"settle": SETTLES}, False, [])),
        (["account.*", "watch"], ["none"], ({ACCOUNT: SUBMITS_PER_ACCOUNT}, True, [])),
        (["watch"], ["none"], ({}, True, [])),
    ],
)
def test_what_is_named_and_nothing_else(
    settings: Settings, registry: Registry, queues: list[str], slots: list[str], shown: object
) -> None:
    duties = Duties.chosen(settings, registry, queues, slots)
    assert (dict(duties.queues), duties.watch, _slots(duties)) == shown
    assert duties.any


@pytest.mark.parametrize(
    ("queues", "slots", "says"),
    [
        (["setle"], [], "--queues: 'setle' fits none of: settle, watch"),
        ([], ["gpu/2"], "--slots: 'gpu/2' fits none of: gpu/0, gpu/1, cpu/0"),
        ([], ["tpu"], "--slots: 'tpu/\\*' fits none of"),
        (["none", "settle"], [], "none stands alone"),
    ],
)
def test_a_name_that_fits_nothing_is_refused(
    settings: Settings, registry: Registry, queues: list[str], slots: list[str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        Duties.chosen(settings, registry, queues, slots)


def test_the_api_alone_has_none() -> None:
    assert not Duties().any
