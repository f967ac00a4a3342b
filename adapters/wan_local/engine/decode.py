"""Latents to frames, a few at a time.

The VAE's decoder is causal: each latent frame needs only features remembered from the ones before. Walking
over latent frames gives 1, 4, 4, ... pixel frames at once, so a clip's pixels are never all in memory and
an encoder can start before the decode ends. ``AutoencoderKLWan.decode`` walks the same way, but keeps its
memory in the model, where a second job would overwrite it, and concatenates; results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify

from adapters.wan_local.engine.control import Control, Frame, raise_if_cancelled
from adapters.wan_local.engine.errors import naming_out_of_memory
from adapters.wan_local.engine.latents import denormalise
from adapters.wan_local.engine.stats import Stats


def decode_frames(
    vae: AutoencoderKLWan, latents: torch.Tensor, control: Control, stats: Stats
) -> Iterator[Frame]:
    """Yield uint8 frames [H, W, 3] in order, decoding as they are taken.

    Args:
        latents: normalised [1, C, T, H, W].

    Raises:
        Cancelled: asked before every frame.
        OutOfMemory: a latent frame did not fit.
    """
    total = 1 + (latents.shape[2] - 1) * int(vae.config.scale_factor_temporal)
    done = 0
    chunks = decode_chunks(vae, latents)
    while done < total:
        raise_if_cancelled(control)
        with stats.timed("decode"), naming_out_of_memory("decode"):
            frames = to_uint8(next(chunks))
        for frame in frames:
            raise_if_cancelled(control)
            yield frame
        done += len(frames)
        control.progress("decode", done, total)


def decode_chunks(vae: AutoencoderKLWan, latents: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield pixels [1, 3, F, H, W] in -1..1 for each latent frame, F = 1 for the first and 4 after."""
    memory: list[Any] = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
    # Grad mode is the thread's, so it may not be held across a yield.
    with torch.no_grad():
        quantised = vae.post_quant_conv(denormalise(vae, latents.to(vae.device, vae.dtype)))
    for index in range(latents.shape[2]):
        with torch.no_grad():
            here = quantised[:, :, index : index + 1]
            chunk = vae.decoder(here, feat_cache=memory, feat_idx=[0], first_chunk=index == 0)
            if vae.config.patch_size is not None:
                chunk = unpatchify(chunk, patch_size=vae.config.patch_size)
            chunk = torch.clamp(chunk, min=-1.0, max=1.0)
        yield chunk


def to_uint8(pixels: torch.Tensor) -> Frame:
    """Pixels [1, 3, F, H, W] in -1..1 to [F, H, W, 3] in 0..255, rounded as diffusers does."""
    unit = (pixels[0].permute(1, 2, 3, 0) * 0.5 + 0.5).clamp(0, 1)
    frames: Frame = (unit.float() * 255).round().to(torch.uint8).cpu().numpy()
    return frames
