"""The plugin's other ends: what it imports, prepares, checks and adds to the command line."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from adapters.wan_local import _adapter, _engines
from adapters.wan_local._adapter import WanLocal
from adapters.wan_local._options import PresetParams
from adapters.wan_local._settings import TINY_VARIANTS, VARIANTS
from adapters.wan_local.engine import DISTILLED, OFFICIAL, WanEngine
from adapters.wan_local.nano.family import MODELS as NANO
from adapters.wan_local.plugin import register_checks, register_commands
from adapters.wan_local.tiny import Variant, write_tiny
from gateway.kit.testing import FakeControl
from gateway.registry import load_registry
from gateway.spec import BrokenModel, Cards, Device, Job, PluginContext

CPU = Device(pool="cpu", slot=0, kind="cpu")
GPU = Device(pool="gpu", slot=0, kind="cuda:0")
T2V = "wan-2.2-t2v-a14b"
Makes = Callable[..., WanLocal]


def test_importing_and_asking_the_plugin_loads_nothing_heavy() -> None:
    script = """
import pathlib, sys
from adapters.wan_local import plugin
from gateway.spec import PluginContext
context = PluginContext(settings={}, data_dir=pathlib.Path("/nowhere"))
(adapter,) = plugin.register_adapters(context)
for cards in plugin.register_cards():
    for offer in cards.offers:
        for preset in offer.presets:
            adapter.unready(offer, preset.name)
plugin.register_commands(), plugin.register_checks(context)
heavy = {"torch", "diffusers", "transformers", "numpy", "av", "PIL", "typer", "huggingface_hub"}
print(sorted({name.split(".")[0] for name in sys.modules} & heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_registry_finds_everything_by_entry_point(tmp_path: Path) -> None:
    registry = load_registry(PluginContext(settings={}, data_dir=tmp_path), enabled=("wan_local",))
    assert [(plugin.name, plugin.problem) for plugin in registry.plugins] == [("wan_local", "")]
    assert isinstance(registry.local("wan_local", "local"), WanLocal)
    assert {card.id for card in registry.catalog.cards} == {*VARIANTS, *NANO, *TINY_VARIANTS}
    assert [command.name for command in registry.commands] == ["wan"]
    assert registry.checks


def test_an_unknown_model_in_the_settings_is_named_with_the_known_ones(
    tmp_path: Path,
) -> None:
    settings = {"wan_local": {"folders": {"wan-9": "/x"}}}
    registry = load_registry(PluginContext(settings=settings, data_dir=tmp_path), enabled=("wan_local",))
    (plugin,) = registry.plugins
    assert "wan-9" in plugin.problem
    assert all(model in plugin.problem for model in VARIANTS)


def test_the_official_presets_are_the_authors_numbers(cards: Cards) -> None:
    for offer in cards.offers:
        whole = [preset for preset in offer.presets if preset.finished_by is None]
        params = {preset.name: PresetParams.model_validate(preset.params) for preset in whole}
        if offer.model in TINY_VARIANTS:
            assert params == {"official": PresetParams(steps=4, sampler="unipc")}
            continue
        if offer.model in NANO:
            assert set(params) == {"official"}, "its numbers are its own"
            continue
        official = OFFICIAL[VARIANTS[offer.model]].sampling  # type: ignore[index]  # KeyError is the failure
        for given, usual in ((params["official"], official), (params["fast"], DISTILLED)):
            told = given.model_dump(exclude_none=True)
            assert told == {name: getattr(usual, name) for name in told}


def test_cards_and_adapter_name_the_same_models(cards: Cards) -> None:
    known = {*VARIANTS, *NANO, *TINY_VARIANTS}
    assert {card.id for card in cards.models} == known
    assert {offer.upstream for offer in cards.offers} == known
    assert {card.id for card in cards.models if card.test_weights} == {*NANO, *TINY_VARIANTS}
    variants: dict[str, Variant] = {**TINY_VARIANTS, **{str(model): kind for model, kind in VARIANTS.items()}}
    for card in cards.models:
        assert card.id in NANO or card.fps.default == OFFICIAL[variants[card.id]].fps


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_slot_puts_the_nano_models_together_once_and_says_so(
    make: Makes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="adapters.wan_local")
    place = tmp_path / "data" / "wan_local" / "nano"
    make().prepare(CPU)
    assert "local slots use the nano models" in caplog.text
    assert str(place) in caplog.text
    before = written(place)
    assert {path.name for path in before} >= {"model_index.json", "reelgate-manifest.json"}
    assert {path.name.split("-")[0] for path in place.iterdir()} == {".lock", "t2v", "i2v", "ti2v"}
    make().prepare(CPU)
    assert written(place) == before


def test_random_weights_are_written_ahead_in_test_mode_alone(make: Makes, tmp_path: Path) -> None:
    place = tmp_path / "random"
    make(tiny_dir=str(place)).prepare(CPU)
    assert not place.exists()
    make(tiny_dir=str(place), test_weights=True).prepare(CPU)
    assert {path.name for path in place.iterdir()} == {"t2v", "i2v", "ti2v"}
    before = written(place)
    make(tiny_dir=str(place), test_weights=True).prepare(CPU)
    assert written(place) == before


def test_two_slots_may_write_the_random_weights_at_once(
    make: Makes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_second(folder: Path, variant: Variant) -> None:
        write_tiny(folder, variant)  # the other slot
        write_tiny(folder, variant)

    monkeypatch.setattr(_engines, "write_tiny", write_second)
    make(tiny_dir=str(tmp_path / "both"), test_weights=True).prepare(CPU)
    assert (tmp_path / "both" / "t2v" / "model_index.json").is_file()


@pytest.mark.parametrize(("model", "where"), [("wan-2.2-nano-t2v", "nano"), (f"{T2V}-tiny", "tiny/t2v")])
def test_a_slot_starts_though_its_weights_cannot_be_written(
    make: Makes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    job: Callable[..., Job],
    model: str,
    where: str,
) -> None:
    (tmp_path / "data").mkdir()
    own = tmp_path / "data" / "wan_local"
    own.write_text("in the way")
    adapter = make(tiny_dir=str(own / "tiny"))
    adapter.prepare(CPU)
    assert f"no test weights in {own / 'nano'}" in caplog.text
    with pytest.raises(BrokenModel, match="test weights") as raised:
        adapter.render(job(model, size="64x64"), CPU, FakeControl(tmp_path))
    assert f"no test weights in {own / where}" in raised.value.operator_detail


@pytest.mark.parametrize(
    ("models", "device", "loads"), [([T2V], GPU, 1), ([T2V, "wan-2.2-ti2v-5b"], GPU, 0), ([T2V], CPU, 0)]
)
def test_a_gpu_slot_loads_early_what_is_the_only_choice(
    make: Makes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: Callable[[Variant], Path],
    models: list[str],
    device: Device,
    loads: int,
) -> None:
    loaded: list[str] = []

    def load(where: str, *given: object, **more: object) -> WanEngine:
        loaded.append(where)
        return real("/".join(where.split("/")), "cpu")

    real = WanEngine.load
    monkeypatch.setattr(WanEngine, "load", load)
    make(folders={model: str(folder("t2v")) for model in models}, tiny_dir=str(tmp_path / "no")).prepare(
        device
    )
    assert len(loaded) == loads
    assert not (tmp_path / "no").exists()


def test_a_slot_starts_though_its_weights_are_broken(
    make: Makes, tmp_path: Path, caplog: pytest.LogCaptureFixture, job: Callable[..., Job]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{}")
    adapter = make(folders={T2V: str(tmp_path / "broken")})
    adapter.prepare(Device(pool="gpu", slot=0, kind="meta"))
    assert str(tmp_path / "broken") in caplog.text
    with pytest.raises(BrokenModel):
        adapter.render(job(T2V), CPU, FakeControl(tmp_path))


def test_a_slot_starts_without_the_extra(
    make: Makes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_adapter, "missing_extra", lambda: ("torch",))
    make(tiny_dir="/nowhere").prepare(CPU)
    assert "pip install 'reelgate[wan]'" in caplog.text


class TestChecks:
    def problems(self, **settings: object) -> dict[str, str | None]:
        context = PluginContext(settings={"wan_local": settings}, data_dir=Path("/nowhere"))
        return {check.name: check.run() for check in register_checks(context)}

    def test_a_fresh_install_is_sound(self) -> None:
        assert self.problems() == {"wan_local: torch and diffusers": None}

    def test_real_weights_want_a_gpu(
        self, folder: Callable[[Variant], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        found = self.problems(folders={T2V: str(folder("t2v"))})
        assert found.pop(f"wan_local: folders.{T2V}") is None
        assert "sees no GPU" in (found["wan_local: torch and diffusers"] or "")

    def test_pickled_files_missing_folders_and_other_models_are_named(
        self, folder: Callable[[Variant], Path], tmp_path: Path
    ) -> None:
        unsafe = tmp_path / "unsafe"
        shutil.copytree(folder("t2v"), unsafe)
        (unsafe / "vae" / "extra.pt").write_bytes(b"")
        found = self.problems(
            folders={T2V: str(unsafe), "wan-2.2-i2v-a14b": str(tmp_path / "gone")},
            distilled={T2V: str(folder("ti2v"))},
        )
        assert "extra.pt can run code" in (found[f"wan_local: folders.{T2V}"] or "")
        assert "no such folder" in (found["wan_local: folders.wan-2.2-i2v-a14b"] or "")
        assert "holds a ti2v model" in (found[f"wan_local: distilled.{T2V}"] or "")

    def test_a_pinned_hub_id_is_not_downloaded_to_look_at(self) -> None:
        found = self.problems(folders={T2V: "an-org/a-repo"}, revisions={T2V: "a" * 40})
        assert found[f"wan_local: folders.{T2V}"] is None
        unpinned = self.problems(folders={T2V: "an-org/a-repo"})
        assert "commit hash" in (unpinned[f"wan_local: folders.{T2V}"] or "")


class TestCommand:
    def run(self, *arguments: str) -> tuple[int, str, str]:
        (command,) = register_commands()
        assert command.name == "wan"
        done = CliRunner().invoke(command.load(), ["tiny", *arguments])
        return done.exit_code, done.stdout, done.stderr

    @pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
    def test_tiny_writes_a_folder_that_loads(self, tmp_path: Path, variant: str) -> None:
        folder = tmp_path / "new" / variant
        code, out, _ = self.run(str(folder), "--variant", variant, "--seed", "5", "--json")
        assert code == 0
        assert json.loads(out) == {"folder": str(folder), "variant": variant, "seed": 5}
        assert WanEngine.load(folder).model.family == variant

    def test_tiny_refuses_a_folder_with_something_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("keep")
        code, _, err = self.run(str(tmp_path), "--variant", "t2v")
        assert code == 1
        assert f"{tmp_path} already exists" in err
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_tiny_names_the_variants_it_knows(self, tmp_path: Path) -> None:
        code, _, err = self.run(str(tmp_path / "new"), "--variant", "s2v")
        assert code == 2
        assert "ti2v" in err
