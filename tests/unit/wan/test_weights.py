"""The engine's own loader: the values of ``from_pretrained``, and the same bits each time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import UMT5EncoderModel

from adapters.wan_local.engine import OutOfMemory, WanEngine, WanJob
from adapters.wan_local.tiny import Variant, write_tiny

Tiny = Callable[[Variant], Path]
Photos = Callable[[int], Image.Image]
WEIGHTS = "diffusion_pytorch_model.safetensors"
KINDS = {
    "text_encoder": UMT5EncoderModel,
    "vae": AutoencoderKLWan,
    "transformer": WanTransformer3DModel,
    "transformer_2": WanTransformer3DModel,
}


def tensors(network: Any) -> dict[str, torch.Tensor]:
    """Parameters, under all their names, and buffers, the computed ones too."""
    return dict(network.named_parameters(remove_duplicate=False)) | dict(network.named_buffers())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_values_and_types_are_those_of_from_pretrained(variant: Variant, dtype: Any, tiny: Tiny) -> None:
    model = WanEngine.load(tiny(variant), dtype=dtype).model
    for part, kind in KINDS.items():
        network = getattr(model, part)
        if network is None:
            assert (variant, part) == ("ti2v", "transformer_2")
            continue
        wanted = torch.float32 if part == "vae" else getattr(torch, dtype)
        theirs = kind.from_pretrained(tiny(variant) / part, dtype=wanted)
        ours, expected = tensors(network), tensors(theirs)
        assert ours.keys() == expected.keys()
        for name, tensor in ours.items():
            assert tensor.dtype == expected[name].dtype, name
            assert torch.equal(tensor, expected[name]), name
        assert network.dtype == theirs.dtype
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    encoder = model.text_encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


def test_every_weight_is_aligned(engine: Callable[[Variant], WanEngine]) -> None:
    model = engine("t2v").model
    for part in KINDS:
        assert not [name for name, one in tensors(getattr(model, part)).items() if one.data_ptr() % 64]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_two_loads_agree_in_every_bit(variant: Variant, dtype: Any, tiny: Tiny, photo: Photos) -> None:
    image = photo(1) if variant == "i2v" else None
    job = WanJob(prompt="a cat", image=image, width=64, height=64, frames=9, steps=3)
    first, second = (WanEngine.load(tiny(variant), dtype=dtype).run(job) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    for one, other in zip(first.frames, second.frames, strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("shift", [8, 16, 24, 40])
def test_where_the_weights_lie_in_a_file_makes_no_difference(shift: int, tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("t2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))
    for file in folder.rglob("*.safetensors"):
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = data[8 : 8 + length] + b" " * shift
        file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    job = WanJob(prompt="a cat", width=64, height=64, frames=9, steps=3)
    first, second = (WanEngine.load(one).run(job).latents for one in (tiny("t2v"), folder))
    assert torch.equal(first, second)


def test_another_process_agrees_in_every_bit(tiny: Tiny, tmp_path: Path) -> None:
    script = f"""
import torch
from safetensors.torch import save_file
from adapters.wan_local.engine import WanEngine, WanJob
torch.set_num_threads(1)
job = WanJob(prompt="a cat", width=64, height=64, frames=9, steps=3)
result = WanEngine.load({str(tiny("t2v"))!r}).run(job)
save_file({{"latents": result.latents}}, {str(tmp_path / "there")!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    job = WanJob(prompt="a cat", width=64, height=64, frames=9, steps=3)
    assert torch.equal(WanEngine.load(tiny("t2v")).run(job).latents, load_file(tmp_path / "there")["latents"])


@pytest.mark.parametrize("stored", ["encoder.embed_tokens.weight", "both"])
def test_tied_embeddings_are_read_under_either_name(stored: str, tmp_path: Path) -> None:
    write_tiny(tmp_path / "t", "ti2v")
    file = tmp_path / "t" / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    embeddings = weights["shared.weight"].clone()
    weights["encoder.embed_tokens.weight"] = embeddings
    if stored != "both":
        del weights["shared.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    encoder = WanEngine.load(tmp_path / "t").model.text_encoder
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight
    assert torch.equal(encoder.shared.weight, embeddings)


def test_progress_goes_up_to_all_bytes_of_each_part(tiny: Tiny) -> None:
    heard: dict[str, list[tuple[int, int]]] = {}
    WanEngine.load(
        tiny("t2v"), on_progress=lambda what, done, total: heard.setdefault(what, []).append((done, total))
    )
    assert list(heard) == ["hash", "text_encoder", "vae", "transformer", "transformer_2"]
    for calls in heard.values():
        done = [one for one, _ in calls]
        assert done == sorted(done)
        assert done[-1] == calls[-1][1]
        assert len({total for _, total in calls}) == 1
    on_disk = sum(file.stat().st_size for file in (tiny("t2v") / "transformer").glob("*.safetensors"))
    assert 0.8 * on_disk < heard["transformer"][-1][1] < on_disk


def test_what_does_not_fit_in_memory_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.empty

    def full(*given: Any, device: torch.device | None = None, **more: Any) -> torch.Tensor:
        if device is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return empty(*given, **more)

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(OutOfMemory, match="load"):
        WanEngine.load(tiny("t2v"))
