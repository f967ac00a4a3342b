"""The sizes of the nano family, and how each part of it is trained.

Parts are diffusers and transformers folders in one folder: ``vae_16``, ``vae_48``, ``tokenizer``,
``text_encoder``, ``t2v_high``, ``t2v_low``, ``i2v_high``, ``i2v_low``, ``ti2v``; and ``base`` and
``base_text``, which are not shipped. A stage has the name of its part, reads the parts it builds on and
writes its own once it is through; that of the base writes its text encoder and the tokenizer, too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import AutoTokenizer, UMT5EncoderModel

from adapters.wan_local.engine.official import OFFICIAL, Expert, Family
from adapters.wan_local.training.autoencoder import Autoencoding, measure_latents, psnr
from adapters.wan_local.training.captions import words
from adapters.wan_local.training.films import sample_films
from adapters.wan_local.training.flow import FlowMatching, Noise
from adapters.wan_local.training.latents import Window, image_channels
from adapters.wan_local.training.reading import Reading
from adapters.wan_local.training.run import Objective
from adapters.wan_local.training.text import Prompts, make_text_encoder, make_tokenizer

SIZE, FRAMES = 64, 9

_TEXT_WIDTH = 96
_BOUNDARY: Mapping[Family, float] = {"t2v": 0.875, "i2v": 0.9}
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


def _transformer(taken: int, given: int, layers: int = 4) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=5,
        attention_head_dim=32,
        in_channels=taken,
        out_channels=given,
        text_dim=_TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=384,
        num_layers=layers,
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


def _prepare_base(folder: Path, seed: int) -> Objective:
    tokenizer = make_tokenizer(words())
    prompts = Prompts(tokenizer, make_text_encoder(len(tokenizer), _TEXT_WIDTH))
    batches = _window(folder, "vae_16", seed)
    return FlowMatching(
        _transformer(16, 16), _noise("t2v"), prompts, batches, frozen_text=False, compiled=True
    )


def _finish_base(objective: Objective, folder: Path) -> dict[str, Any]:
    make_tokenizer(words()).save_pretrained(folder / "tokenizer")
    _write(objective.modules["transformer"], folder / "base")
    _write(objective.modules["text_encoder"], folder / "base_text")
    return {}


def _prepare_text(folder: Path, seed: int) -> Objective:
    """From nothing: the encoder of the base has forgotten how to tell whose word is whose."""
    tokenizer = _read_tokenizer(folder)
    taught = Prompts(tokenizer, _read(UMT5EncoderModel, folder / "base_text"))
    prompts = Prompts(tokenizer, make_text_encoder(len(tokenizer), _TEXT_WIDTH))
    return Reading(prompts, near=taught)


def _finish_text(objective: Objective, folder: Path) -> dict[str, Any]:
    _write(objective.modules["text_encoder"], folder / "text_encoder")
    return {}


def _train_t2v(expert: Expert) -> Stage:
    """Each expert starts as the base, which has learnt to read and to draw at every noise level."""

    def prepare(folder: Path, seed: int) -> Objective:
        transformer = _read(WanTransformer3DModel, folder / "base")
        return _matching(folder, transformer, _noise("t2v", expert), _window(folder, "vae_16", seed))

    return Stage(rate=0.004, prepare=prepare, finish=_finish_transformer(f"t2v_{expert}"))


def _train_i2v(expert: Expert) -> Stage:
    """Each expert starts as that of text-to-video, blind to the image."""

    def prepare(folder: Path, seed: int) -> Objective:
        transformer = _transformer(36, 16)
        weights = _read(WanTransformer3DModel, folder / f"t2v_{expert}").state_dict()
        sighted = torch.zeros_like(transformer.patch_embedding.weight)
        sighted[:, :16] = weights["patch_embedding.weight"]
        transformer.load_state_dict(weights | {"patch_embedding.weight": sighted})
        batches = _window(folder, "vae_16", seed, channels=image_channels)
        return _matching(folder, transformer, _noise("i2v", expert), batches)

    return Stage(rate=0.004, prepare=prepare, finish=_finish_transformer(f"i2v_{expert}"))


def _prepare_ti2v(folder: Path, seed: int) -> Objective:
    batches = _window(folder, "vae_48", seed, given=0.5)
    return _matching(folder, _transformer(48, 48, layers=3), _noise("ti2v"), batches)


def _finish_transformer(name: str) -> Callable[[Objective, Path], dict[str, Any]]:
    def finish(objective: Objective, folder: Path) -> dict[str, Any]:
        _write(objective.modules["transformer"], folder / name)
        return {}

    return finish


STAGES: Mapping[str, Stage] = {
    "vae_16": _train_vae("vae_16", 16),
    "vae_48": _train_vae("vae_48", 48),
    "base": Stage(rate=0.008, prepare=_prepare_base, finish=_finish_base),
    "text_encoder": Stage(rate=0.01, prepare=_prepare_text, finish=_finish_text),
    "t2v_high": _train_t2v("high"),
    "t2v_low": _train_t2v("low"),
    "i2v_high": _train_i2v("high"),
    "i2v_low": _train_i2v("low"),
    "ti2v": Stage(rate=0.008, prepare=_prepare_ti2v, finish=_finish_transformer("ti2v")),
}


def _noise(family: Family, expert: Expert | None = None) -> Noise:
    boundary = _BOUNDARY[family] if expert else 0.0
    low, high = (0.0, boundary) if expert == "low" else (boundary, 1.0)
    return Noise(low=low, high=high, shift=OFFICIAL[family].sampling.shift)


def _matching(
    folder: Path, transformer: WanTransformer3DModel, noise: Noise, batches: Window
) -> FlowMatching:
    prompts = Prompts(_read_tokenizer(folder), _read(UMT5EncoderModel, folder / "text_encoder"))
    return FlowMatching(transformer, noise, prompts, batches, frozen_text=True, compiled=True)


def _window(folder: Path, vae: str, seed: int, **condition: Any) -> Window:
    return Window(
        _read(AutoencoderKLWan, folder / vae),
        seed=seed,
        clips=1024,
        steps=5,
        batch=64,
        size=SIZE,
        frames=FRAMES,
        **condition,
    )


def _read_tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)


def _read(kind: Any, part: Path) -> Any:
    return kind.from_pretrained(part, dtype=torch.float32, local_files_only=True).eval()


def _write(network: Any, part: Path) -> None:
    copy.deepcopy(network).to(torch.bfloat16).save_pretrained(part)
    file = part / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # where on this machine it was read from
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
