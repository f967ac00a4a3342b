"""What the stages write is what the engine runs, and what the shipped sizes allow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from adapters.wan_local.engine import WanEngine, WanJob
from adapters.wan_local.tiny import Variant, write_tiny
from adapters.wan_local.training import nano

# Of torch's own, when it is asked to compile.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")

SHARED = {"tokenizer": "tokenizer", "text_encoder": "text_encoder"}
PARTS: dict[Variant, dict[str, str]] = {
    "t2v": {"vae": "vae_16", "transformer": "t2v_high", "transformer_2": "t2v_low"},
    "i2v": {"vae": "vae_16", "transformer": "i2v_high", "transformer_2": "i2v_low"},
    "ti2v": {"vae": "vae_48", "transformer": "ti2v"},
}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every part, as its stage writes it before the first step."""
    folder = tmp_path_factory.mktemp("family")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "_MEASURED", 4)
        torch.manual_seed(0)
        for stage in nano.STAGES.values():
            stage.finish(stage.prepare(folder, 0), folder)
    return folder


@pytest.mark.parametrize("variant", PARTS)
def test_the_engine_runs_it(
    variant: Variant, family: Path, photo: Callable[[int], Image.Image], tmp_path: Path
) -> None:
    write_tiny(tmp_path / variant, variant)
    for name, part in (SHARED | PARTS[variant]).items():
        shutil.rmtree(tmp_path / variant / name)
        shutil.copytree(family / part, tmp_path / variant / name)
    engine = WanEngine.load(tmp_path / variant)
    job = WanJob(prompt="a red circle moving right", width=64, height=64, frames=9, steps=4)
    frames = list(engine.run(job if variant == "t2v" else replace(job, image=photo(1))).frames)
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 9


def test_i2v_starts_as_t2v_blind_to_the_image(family: Path) -> None:
    for expert in ("high", "low"):
        before, after = (
            load_file(family / f"{variant}_{expert}" / "diffusion_pytorch_model.safetensors")
            for variant in ("t2v", "i2v")
        )
        sighted = after.pop("patch_embedding.weight")
        assert torch.equal(sighted[:, :16], before.pop("patch_embedding.weight"))
        assert not sighted[:, 16:].any()
        for name, weight in before.items():
            assert torch.equal(weight, after[name]), name


def test_no_part_says_where_it_was_trained(family: Path) -> None:
    files = [*family.rglob("*.json")]
    assert len(files) > 9
    assert not [file for file in files if str(family) in file.read_text()]


def test_the_family_is_small_and_in_bf16(family: Path) -> None:
    sizes = {part.name: sum(file.stat().st_size for file in part.rglob("*")) for part in family.iterdir()}
    t2v = [*SHARED.values(), *PARTS["t2v"].values()]
    assert sum(sizes[part] for part in t2v) < 12_000_000
    assert sum(sizes.values()) - sizes["base"] < 20_000_000
    for file in family.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}, file
