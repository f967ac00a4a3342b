"""Frames taken one by one are those of decoding the clip at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.video_processor import VideoProcessor
from PIL import Image

from adapters.wan_local.engine import OutOfMemory, WanEngine, WanJob
from adapters.wan_local.engine.decode import decode_chunks, to_uint8
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
JOB = WanJob(prompt="a cat", width=64, height=32, frames=13, steps=2, seed=7)


def run(engine: Engine, variant: Variant, **change: Any) -> Any:
    image = Image.new("RGB", (32, 32), "red") if variant == "i2v" else None
    return engine(variant).run(replace(JOB, image=image, **change))


def decoded_at_once(engine: WanEngine, latents: torch.Tensor) -> torch.Tensor:
    """As the last lines of WanPipeline.__call__ do."""
    vae = engine.model.vae
    mean = torch.tensor(vae.config.latents_mean).view(1, vae.config.z_dim, 1, 1, 1)
    inverse_std = 1.0 / torch.tensor(vae.config.latents_std).view(1, vae.config.z_dim, 1, 1, 1)
    with torch.no_grad():
        pixels: torch.Tensor = vae.decode(latents / inverse_std + mean, return_dict=False)[0]
    return pixels


@pytest.mark.parametrize("frames", [1, 5, 13])
@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_streamed_pixels_equal_those_decoded_at_once(variant: Variant, frames: int, engine: Engine) -> None:
    result = run(engine, variant, frames=frames)
    whole = decoded_at_once(engine(variant), result.latents)
    chunks = list(decode_chunks(engine(variant).model.vae, result.latents))
    assert [chunk.shape[2] for chunk in chunks] == [1] + [4] * (frames // 4)
    assert torch.equal(torch.cat(chunks, dim=2), whole)
    theirs = VideoProcessor().postprocess_video(whole, output_type="pil")[0]
    ours = list(result.frames)
    assert len(ours) == len(theirs) == frames
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.dtype == np.uint8
        assert mine.shape == (32, 64, 3)
        assert np.array_equal(mine, np.asarray(reference))


def test_two_jobs_can_be_decoded_in_turns(engine: Engine) -> None:
    alone = [list(run(engine, "i2v", seed=seed).frames) for seed in (1, 2)]
    first = run(engine, "i2v", seed=1)
    opening = [next(first.frames) for _ in range(3)]
    second = run(engine, "i2v", seed=2)
    turns: list[list[Any]] = [opening, []]
    for a, b in zip(first.frames, second.frames, strict=False):
        turns[0].append(a)
        turns[1].append(b)
    assert all(np.array_equal(x, y) for x, y in zip(turns[0], alone[0], strict=True))
    assert all(np.array_equal(x, y) for x, y in zip(turns[1], alone[1], strict=False))


def test_rounding_is_to_the_nearest_level() -> None:
    levels = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0]).view(1, 1, 1, 1, 6).expand(1, 3, 1, 1, 6)
    assert to_uint8(levels)[0, 0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]


def test_out_of_memory_while_decoding(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    result = run(engine, "t2v")
    monkeypatch.setattr(engine("t2v").model.vae.decoder, "forward", full)
    with pytest.raises(OutOfMemory, match="decode"):
        next(result.frames)
