"""Doctor: green on a sound installation, red with the remedy on each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.cli import _checks
from gateway.cli._checks import Finding, python_and_sqlite, sole_owner, store
from gateway.cli._open import opened_runtime
from gateway.media import StoreError
from gateway.registry import Registry
from gateway.settings import Settings
from gateway.spec import Check


def red(ran: Any) -> dict[str, str]:
    """The red lines of ``doctor --json``."""
    return {check["name"]: check["problem"] for check in ran.json["checks"] if not check["ok"]}


def test_green_before_and_after_the_first_start(cli: Any, data_dir: Path):
    fresh = cli("doctor", "--json")
    assert fresh.code == 0, red(fresh)
    assert fresh.json["ok"]
    assert list(data_dir.iterdir()) == [data_dir / "config.yaml"]
    cli("db", "upgrade")
    ran = cli("doctor")
    assert ran.code == 0
    assert "✗" not in ran.out
    assert {line[2:].split(":")[0] for line in ran.out.splitlines()} >= {"database", "store", "video codecs"}


def test_red_where_the_schema_is_behind(cli: Any, data_dir: Path):
    cli("db", "upgrade")
    with opened_runtime(data_dir) as runtime, runtime.db.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'older'"))
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert "reelgate db upgrade" in red(ran)["database"]


def test_red_where_settings_or_plugins_are_broken(cli: Any, data_dir: Path):
    config = data_dir / "config.yaml"
    config.write_text("enabled_plugins: [echo, gone, policies]\npolicies: {tiered: {slots: {default: 3}}}\n")
    broken = red(cli("doctor", "--json"))
    assert broken.keys() == {"plugin gone", "routing policy"}
    assert "slots.default" in broken["routing policy"]
    config.write_text("policy: nobody's\n")
    assert red(cli("doctor", "--json")).keys() == {"settings"}
    config.write_text("enabled_plugins: [echo]\n")
    ran = cli("doctor")
    assert ran.code == 1
    assert "✗ routing policy: policy: no plugin brings 'tiered'; there are: none" in ran.out


def test_red_where_an_offer_names_no_model(cli: Any, data_dir: Path):
    offer = "{model: nobody, adapter: echo, upstream: x}"
    (data_dir / "config.yaml").write_text(f"enabled_plugins: [echo, policies]\noffers: [{offer}]\n")
    assert "nobody" in red(cli("doctor", "--json"))["catalog"]


def test_a_plugins_own_checks_count_and_may_fail(cli: Any, monkeypatch: pytest.MonkeyPatch):
    def broken() -> str | None:
        raise ZeroDivisionError("division by zero")

    checks = (Check(name="gpu", run=lambda: "no driver: install one"), Check(name="odd", run=broken))
    sound = _checks.open_registry

    def with_checks(settings: Any) -> Registry:
        registry = sound(settings)
        return Registry(**{**vars(registry), "checks": checks})

    monkeypatch.setattr(_checks, "open_registry", with_checks)
    assert red(cli("doctor", "--json")) == {
        "gpu": "no driver: install one",
        "odd": "the check itself failed: ZeroDivisionError: division by zero",
    }


@pytest.mark.parametrize(
    ("python", "sqlite", "sound"),
    [((3, 11), (3, 40), True), ((3, 12), (3, 41), False), ((3, 12), (3, 42), True), ((3, 14), (3, 50), True)],
)
def test_the_pair_of_python_and_sqlite(python: tuple[int, int], sqlite: tuple[int, int], sound: bool):
    finding = _checks._finding("python", lambda: python_and_sqlite(python, sqlite))
    assert (finding.problem is None) is sound


def test_a_second_owner_of_our_packages_is_red():
    assert _finding_of({"gateway": ["reelgate"], "adapters": ["reelgate"]}).problem is None
    assert _finding_of({}).problem is None
    other = _finding_of({"gateway": ["reelgate"], "adapters": ["reelgate", "adapters"]})
    assert other.problem is not None
    assert "'adapters'" in other.problem


def test_a_store_without_room_or_rights_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert (
        "GiB free"
        in _checks._finding("store", lambda: store(Settings(data_dir=tmp_path / "not" / "yet"))).detail
    )
    assert list(tmp_path.iterdir()) == []
    missing = _checks._finding("store", lambda: store(Settings(data_dir=Path("/proc/nowhere"))))
    assert missing.problem is not None
    monkeypatch.setattr(_checks, "MIN_FREE_BYTES", 2**80)
    full = _checks._finding("store", lambda: store(Settings(data_dir=tmp_path)))
    assert full.problem is not None
    assert "MiB free" in full.problem


def test_a_bucket_that_does_not_answer_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Closed:
        def check(self) -> None:
            raise StoreError("failed", operator_detail="the bucket refuses the key")

    monkeypatch.setattr(_checks, "open_store", lambda settings: Closed())
    settings = Settings(data_dir=tmp_path, store_url="s3://bucket/clips")
    red = _checks._finding("store", lambda: store(settings))
    assert red.problem == "s3://bucket/clips: the bucket refuses the key"


def _finding_of(owners: dict[str, list[str]]) -> Finding:
    return _checks._finding("packages", lambda: sole_owner(owners))
