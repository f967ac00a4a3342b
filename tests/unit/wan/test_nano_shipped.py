"""The nano models as they are shipped: small, whole, and loadable as any Wan 2.2 folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from adapters.wan_local._commands import app
from adapters.wan_local.engine import WanEngine
from adapters.wan_local.nano.assembly import assemble
from adapters.wan_local.nano.family import MODELS, WEIGHTS
from adapters.wan_local.tiny import Variant

MB = 10**6


@pytest.mark.parametrize("variant", MODELS.values())
def test_a_model_loads_and_has_the_networks_of_its_kind(variant: Variant, tmp_path: Path) -> None:
    folder = assemble(variant, tmp_path)
    model = WanEngine.load(folder).model
    taken, given, latent, boundary = {
        "t2v": (16, 16, 16, 0.875),
        "i2v": (36, 16, 16, 0.9),
        "ti2v": (48, 48, 48, None),
    }[variant]
    config = model.transformer.config
    assert (model.family, model.boundary) == (variant, boundary)
    assert (config.in_channels, config.out_channels, model.vae.config.z_dim) == (taken, given, latent)
    assert (model.width_step, model.frame_step) == (32 if variant == "ti2v" else 16, 4)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 12 * MB


def test_all_are_small_and_bf16() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20 * MB
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                names = list(opened.keys())
                assert {opened.get_slice(name).get_dtype() for name in names} == {"BF16"}, path


def test_the_command_writes_one_for_use_elsewhere(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["nano", "nano-t2v", str(tmp_path / "a"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["family"], told["folder"]) == ("t2v", str(tmp_path / "a"))
    again = CliRunner().invoke(app, ["nano", "nano-t2v", str(tmp_path / "a")])
    assert again.exit_code == 1
    assert "already exists" in again.stderr
    other = CliRunner().invoke(app, ["nano", "nano-9", str(tmp_path / "b")])
    assert other.exit_code == 1
    assert "wan-2.2-nano-t2v" in other.stderr
