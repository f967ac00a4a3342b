"""Folders written anew: the same model in fewer bytes, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

from adapters.wan_local.engine import FolderError, WanEngine, WanJob
from adapters.wan_local.engine import repack as repack_module
from adapters.wan_local.engine.manifest import MANIFEST
from adapters.wan_local.engine.repack import Packing, repack
from adapters.wan_local.tiny import Variant

Tiny = Callable[[Variant], Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORKS = ("text_encoder", "vae", "transformer", "transformer_2")


def parameters(folder: Path, dtype: Any = "bfloat16") -> dict[str, torch.Tensor]:
    model = WanEngine.load(folder, dtype=dtype).model
    networks = {name: getattr(model, name) for name in NETWORKS if getattr(model, name) is not None}
    return {
        f"{part}.{name}": one
        for part, network in networks.items()
        for name, one in network.named_parameters()
    }


def stored(folder: Path, part: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted((folder / part).glob("*.safetensors")):
        found |= load_file(file)
    return found


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(
        one.dtype == others[name].dtype and torch.equal(one, others[name]) for name, one in some.items()
    )


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_bf16_loads_the_same_bits(variant: Variant, tiny: Tiny, tmp_path: Path) -> None:
    digest = repack(tiny(variant), tmp_path / "new", "bf16")
    assert same(parameters(tmp_path / "new"), parameters(tiny(variant)))
    model = WanEngine.load(tmp_path / "new").model
    assert (model.digest, model.family) == (digest, variant)
    for part in ("text_encoder", "transformer"):
        assert {one.dtype for one in stored(tmp_path / "new", part).values()} <= {
            torch.bfloat16,
            torch.float32,
        }
    assert {one.dtype for one in stored(tmp_path / "new", "vae").values()} == {torch.float32}


def test_bf16_is_a_folder_like_any_other(tiny: Tiny, tmp_path: Path) -> None:
    repack(tiny("t2v"), tmp_path / "new", "bf16")
    theirs = WanTransformer3DModel.from_pretrained(tmp_path / "new" / "transformer", dtype=torch.bfloat16)
    ours = WanEngine.load(tiny("t2v"), dtype="bfloat16").model.transformer
    assert same(dict(theirs.named_parameters()), dict(ours.named_parameters()))
    job = WanJob(prompt="a cat", width=32, height=32, frames=5, steps=2)
    runs = [WanEngine.load(folder, dtype="bfloat16").run(job) for folder in (tiny("t2v"), tmp_path / "new")]
    assert torch.equal(runs[0].latents, runs[1].latents)


def test_everything_but_the_weights_is_copied(tiny: Tiny, tmp_path: Path) -> None:
    repack(tiny("t2v"), tmp_path / "new", "fp8")
    names = {
        path.relative_to(root).as_posix()
        for root in (tiny("t2v"), tmp_path / "new")
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("reelgate-")
    }
    assert len(names) == 12
    for name in names:
        if not name.endswith(".safetensors"):
            assert (tmp_path / "new" / name).read_bytes() == (tiny("t2v") / name).read_bytes()


@pytest.mark.parametrize("variant", ["t2v", "ti2v"])
def test_float8_is_off_by_no_more_than_its_format(variant: Variant, tiny: Tiny, tmp_path: Path) -> None:
    repack(tiny(variant), tmp_path / "new", "fp8")
    exact, loaded = parameters(tiny(variant), "float32"), parameters(tmp_path / "new", "float32")
    rounded = parameters(tiny(variant), "bfloat16")
    linear = 0
    for part in NETWORKS:
        for name, tensor in stored(tmp_path / "new", part).items() if (tiny(variant) / part).exists() else ():
            if name.endswith(".scale"):
                continue
            full = f"{part}.{name}"
            if tensor.dtype != torch.float8_e4m3fn:
                assert torch.equal(loaded[full], rounded[full].float())
                continue
            linear += 1
            scale = stored(tmp_path / "new", part)[f"{name}.scale"].unsqueeze(1)
            assert torch.allclose(scale.squeeze(1), exact[full].abs().amax(dim=1) / 448)
            # 3 bits after the point: half a step is 2^-4 of the value, and 2^-10 below 2^-6.
            bound = torch.maximum(exact[full].abs() * 2**-4, scale * 2**-10) * (1 + 1e-6)
            assert ((loaded[full] - exact[full]).abs() <= bound).all()
            assert not torch.equal(loaded[full], exact[full])
    experts, layers = (1 if variant == "ti2v" else 2), 2
    assert linear == experts * layers * 10 + layers * 7


def test_float8_keeps_rows_of_zeros_and_of_tiny_weights(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("ti2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))
    file, name = folder / "transformer" / WEIGHTS, "blocks.0.attn1.to_q.weight"
    weights = load_file(file)
    weights[name][0] = 0.0
    weights[name][1] *= 1e-6
    weights[name][2] = 1e-42
    save_file(weights, file, metadata={"format": "pt"})
    repack(folder, tmp_path / "new", "fp8")
    loaded = parameters(tmp_path / "new", "float32")[f"transformer.{name}"]
    assert (loaded[0] == 0).all()
    assert torch.allclose(loaded[1], weights[name][1], rtol=2**-4, atol=1e-10)
    assert torch.isfinite(loaded).all()


def test_float8_is_computed_with_in_the_asked_type(tiny: Tiny, tmp_path: Path) -> None:
    repack(tiny("t2v"), tmp_path / "new", "fp8")
    wanted = {name: one.dtype for name, one in parameters(tiny("t2v")).items()}
    assert {name: one.dtype for name, one in parameters(tmp_path / "new").items()} == wanted


def test_what_is_repacked_can_be_repacked(tiny: Tiny, tmp_path: Path) -> None:
    repack(tiny("ti2v"), tmp_path / "fp8", "fp8")
    repack(tmp_path / "fp8", tmp_path / "bf16", "bf16")
    assert same(parameters(tmp_path / "fp8"), parameters(tmp_path / "bf16"))
    repack(tmp_path / "fp8", tmp_path / "again", "fp8")
    assert same(parameters(tmp_path / "fp8"), parameters(tmp_path / "again"))


def test_sizes_on_disk_are_those_of_the_types(tiny: Tiny, tmp_path: Path) -> None:
    def bytes_of_linears(folder: Path) -> int:
        return sum(
            one.numel() * one.itemsize
            for name, one in stored(folder, "transformer").items()
            if name.startswith("blocks.") and (one.ndim == 2 or name.endswith(".scale"))
        )

    sizes = {"source": bytes_of_linears(tiny("t2v"))}
    packings: tuple[Packing, ...] = ("bf16", "fp8")
    for packing in packings:
        repack(tiny("t2v"), tmp_path / packing, packing)
        sizes[packing] = bytes_of_linears(tmp_path / packing)
    assert sizes["bf16"] * 2 == sizes["source"]
    # The scales are 4 bytes for a row: a sixth here, where rows have 24 weights, a thousandth in a real one.
    assert sizes["fp8"] == sizes["bf16"] / 2 + 4 * sum(
        one.shape[0] for one in stored(tmp_path / "fp8", "transformer").values() if one.itemsize == 1
    )


def test_a_large_part_is_sharded(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repack_module, "_SHARD_BYTES", 30_000)
    repack(tiny("t2v"), tmp_path / "new", "fp8")
    folder = tmp_path / "new" / "transformer"
    index = json.loads((folder / f"{WEIGHTS}.index.json").read_text())
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert shards == [
        f"diffusion_pytorch_model-0000{n}-of-0000{len(shards)}.safetensors" for n in range(1, len(shards) + 1)
    ]
    assert len(shards) > 1
    assert all((folder / name).stat().st_size < 50_000 for name in shards)
    assert sorted(set(index["weight_map"].values())) == shards
    weights = stored(tmp_path / "new", "transformer")
    assert index["weight_map"].keys() == weights.keys()
    assert index["metadata"]["total_size"] == sum(one.numel() * one.itemsize for one in weights.values())
    monkeypatch.undo()
    repack(tiny("t2v"), tmp_path / "whole", "fp8")
    assert same(parameters(tmp_path / "whole"), parameters(tmp_path / "new"))


def test_progress_counts_the_bytes_written(tiny: Tiny, tmp_path: Path) -> None:
    heard: dict[str, tuple[int, int]] = {}
    repack(
        tiny("t2v"), tmp_path / "new", "bf16", lambda what, done, total: heard.update({what: (done, total)})
    )
    assert set(heard) == {"hash", *NETWORKS}
    assert all(done == total for done, total in heard.values())
    weights = stored(tmp_path / "new", "vae").values()
    assert heard["vae"][1] == sum(one.numel() * one.itemsize for one in weights)


def test_a_folder_with_something_in_it_is_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="already exists"):
        repack(tiny("t2v"), tmp_path, "bf16")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_is_seen_first(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(OSError, match=r"\d{6} bytes are needed and 100000 are free"):
        repack(tiny("t2v"), tmp_path / "new", "bf16")
    assert not list(tmp_path.iterdir())


def test_a_source_that_changed_since_it_was_pinned_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("t2v"), tmp_path / "m"))
    WanEngine.load(folder)
    file = folder / "transformer" / WEIGHTS
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(FolderError, match="SHA-256"):
        repack(folder, tmp_path / "new", "bf16")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_source_is_not_written_to(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("t2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))
    repack(folder, tmp_path / "new", "bf16")
    assert not (folder / MANIFEST).exists()
    assert (tmp_path / "new" / MANIFEST).exists()


def test_a_failure_leaves_nothing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(repack_module, "_copy_rest", full)
    with pytest.raises(OSError, match="No space left"):
        repack(tiny("t2v"), tmp_path / "new", "bf16")
    assert not list(tmp_path.iterdir())


def test_a_killed_repack_leaves_nothing_that_loads(tiny: Tiny, tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from adapters.wan_local.engine.repack import repack
def progress(what, done, total):
    if what == "transformer_2":
        os.kill(os.getpid(), signal.SIGKILL)
repack(Path({str(tiny("t2v"))!r}), Path({str(tmp_path / "new")!r}), "bf16", progress)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".new-")
    assert not (tmp_path / "new").exists()
    with pytest.raises(FolderError):
        WanEngine.load(left)
    repack(tiny("t2v"), tmp_path / "new", "bf16")
    assert same(parameters(tmp_path / "new"), parameters(tiny("t2v")))


def test_every_tensor_is_aligned_to_its_type(tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("ti2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))
    width = 33  # its layers have odd numbers of weights
    config = WanTransformer3DModel.load_config(folder / "transformer") | {"text_dim": width}
    WanTransformer3DModel.from_config(config).save_pretrained(folder / "transformer")
    encoder = UMT5Config.from_pretrained(folder / "text_encoder", d_model=width)
    UMT5EncoderModel(encoder).save_pretrained(folder / "text_encoder")
    repack(folder, tmp_path / "new", "fp8")
    for file in (tmp_path / "new").rglob("*.safetensors"):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        assert length % 8 == 0
        sizes = {"F32": 4, "BF16": 2, "F8_E4M3": 1}
        assert all(one["data_offsets"][0] % sizes[one["dtype"]] == 0 for one in header.values())
        with safe_open(file, framework="pt") as opened:
            assert set(opened.keys()) == set(header)
        assert os.stat(file).st_size == 8 + length + max(one["data_offsets"][1] for one in header.values())
