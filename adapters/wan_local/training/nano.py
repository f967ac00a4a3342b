"""The sizes of the nano family, and how each part of it is trained.

Parts are diffusers and transformers folders in one folder: ``vae_16``, ``vae_48``, ``tokenizer``,
``text_encoder``, ``t2v_high``, ``t2v_low``, ``i2v_high``, ``i2v_low``, ``ti2v``. A stage reads the parts it
builds on and writes its own once it is through.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import AutoTokenizer, UMT5EncoderModel

from adapters.wan_local.training.autoencoder import Autoencoding, measure_latents, psnr
from adapters.wan_local.training.captions import words
from adapters.wan_local.training.films import sample_films
from adapters.wan_local.training.flow import Expert, FlowMatching, Noise
from adapters.wan_local.training.latents import Window, image_channels
from adapters.wan_local.training.run import Objective
from adapters.wan_local.training.text import Prompts, make_text_encoder, make_tokenizer

SIZE, FRAMES = 64, 9

_TEXT_WIDTH = 96
_BOUNDARY = {"t2v": 0.875, "i2v": 0.9}
_SHIFT = {"t2v": 12.0, "i2v": 5.0, "ti2v": 5.0}
_MEASURED = 256  # clips


@dataclass(frozen=True, kw_only=True)
class Stage:
    """``prepare(folder, seed)`` makes the objective; ``finish`` writes the parts, and measures."""

    rate: float
    prepare: Callable[[Path, int], Objective]
    finish: Callable[[Objective, Path], dict[str, Any]]


def _vae(latent: int) -> AutoencoderKLWan:
    """Both are built as Wan 2.2's 48-channel VAE is, the other with one step less in space."""
    steps = [True, True] if latent == 16 else [False, True, True]
    return AutoencoderKLWan(
        base_dim=16,
        z_dim=latent,
        dim_mult=[1] + [2] * len(steps),
        num_res_blocks=1,
        temperal_downsample=steps,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8 if latent == 16 else 16,
        latents_mean=[0.0] * latent,
        latents_std=[1.0] * latent,
    )


def _transformer(taken: int, given: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=5,
        attention_head_dim=32,
        in_channels=taken,
        out_channels=given,
        text_dim=_TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=384,
        num_layers=4,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=1024,
    )


def _train_vae(name: str, latent: int) -> Stage:
    def prepare(folder: Path, seed: int) -> Objective:
        def clips(rng: np.random.Generator, count: int, frames: int) -> torch.Tensor:
            return sample_films(rng, count, SIZE, frames)[1]

        return Autoencoding(_vae(latent), clips, batch=4, frames=FRAMES)

    def finish(objective: Objective, folder: Path) -> dict[str, Any]:
        vae = objective.modules["vae"]
        measure_latents(vae, sample_films(np.random.default_rng(1), _MEASURED, SIZE, FRAMES)[1])
        _write(vae, folder / name)
        stored = _read(AutoencoderKLWan, folder / name)
        unseen = sample_films(np.random.default_rng(2), _MEASURED, SIZE, FRAMES, held_out=True)[1]
        return {"held-out PSNR": round(psnr(stored, unseen), 2)}

    return Stage(rate=0.02, prepare=prepare, finish=finish)


def _prepare_t2v(folder: Path, seed: int) -> Objective:
    tokenizer = make_tokenizer(words())
    prompts = Prompts(tokenizer, make_text_encoder(len(tokenizer), _TEXT_WIDTH))
    experts = _experts("t2v", _transformer(16, 16), _transformer(16, 16))
    vae = _read(AutoencoderKLWan, folder / "vae_16")
    batches = Window(vae, seed=seed, clips=2048, steps=6, batch=64, size=SIZE, frames=FRAMES)
    return FlowMatching(experts, prompts, batches, frozen_text=False, compiled=True)


def _finish_t2v(objective: Objective, folder: Path) -> dict[str, Any]:
    make_tokenizer(words()).save_pretrained(folder / "tokenizer")
    for name in ("high", "low"):
        _write(objective.modules[name], folder / f"t2v_{name}")
    _write(objective.modules["text"], folder / "text_encoder")
    return {}


def _prepare_i2v(folder: Path, seed: int) -> Objective:
    """Starts as the text-to-video experts, blind to the image."""
    experts = []
    for name in ("high", "low"):
        transformer = _transformer(36, 16)
        weights = _read(WanTransformer3DModel, folder / f"t2v_{name}").state_dict()
        sighted = torch.zeros_like(transformer.patch_embedding.weight)
        sighted[:, :16] = weights["patch_embedding.weight"]
        transformer.load_state_dict(weights | {"patch_embedding.weight": sighted})
        experts.append(transformer)
    vae = _read(AutoencoderKLWan, folder / "vae_16")
    batches = Window(
        vae, seed=seed, clips=2048, steps=6, batch=64, size=SIZE, frames=FRAMES, channels=image_channels
    )
    return FlowMatching(
        _experts("i2v", *experts), _read_prompts(folder), batches, frozen_text=True, compiled=True
    )


def _finish_i2v(objective: Objective, folder: Path) -> dict[str, Any]:
    for name in ("high", "low"):
        _write(objective.modules[name], folder / f"i2v_{name}")
    return {}


def _prepare_ti2v(folder: Path, seed: int) -> Objective:
    expert = Expert(
        name="ti2v",
        transformer=_transformer(48, 48),
        noise=Noise(low=0.0, high=1.0, shift=_SHIFT["ti2v"]),
    )
    vae = _read(AutoencoderKLWan, folder / "vae_48")
    batches = Window(vae, seed=seed, clips=2048, steps=6, batch=64, size=SIZE, frames=FRAMES, given=0.5)
    return FlowMatching([expert], _read_prompts(folder), batches, frozen_text=True, compiled=True)


def _finish_ti2v(objective: Objective, folder: Path) -> dict[str, Any]:
    _write(objective.modules["ti2v"], folder / "ti2v")
    return {}


STAGES: Mapping[str, Stage] = {
    "vae_16": _train_vae("vae_16", 16),
    "vae_48": _train_vae("vae_48", 48),
    "t2v": Stage(rate=0.006, prepare=_prepare_t2v, finish=_finish_t2v),
    "i2v": Stage(rate=0.004, prepare=_prepare_i2v, finish=_finish_i2v),
    "ti2v": Stage(rate=0.006, prepare=_prepare_ti2v, finish=_finish_ti2v),
}


def _experts(variant: str, high: WanTransformer3DModel, low: WanTransformer3DModel) -> list[Expert]:
    boundary, shift = _BOUNDARY[variant], _SHIFT[variant]
    return [
        Expert(name="high", transformer=high, noise=Noise(low=boundary, high=1.0, shift=shift)),
        Expert(name="low", transformer=low, noise=Noise(low=0.0, high=boundary, shift=shift)),
    ]


def _read(kind: Any, part: Path) -> Any:
    return kind.from_pretrained(part, dtype=torch.float32, local_files_only=True).eval()


def _read_prompts(folder: Path) -> Prompts:
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    return Prompts(tokenizer, _read(UMT5EncoderModel, folder / "text_encoder"))


def _write(network: Any, part: Path) -> None:
    copy.deepcopy(network).to(torch.bfloat16).save_pretrained(part)
