"""The autoencoder's objective: clips to latents and back, first single pictures, then clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import AutoencoderKLWan
from torch import nn

from adapters.wan_local.training.films import to_pixels
from adapters.wan_local.training.run import Draw

_PICTURES_UNTIL = 0.1  # of the time
_PICTURES_FOR_A_CLIP = 6  # as many cost what a clip of 9 frames costs
_FOREGROUND = 6.0
_KL = 1e-4

Clips = Callable[[np.random.Generator, int, int], torch.Tensor]


class Autoencoding:
    """Reconstruct what ``clips(rng, count, frames)`` yields, uint8 [count, 3, frames, H, W]."""

    def __init__(self, vae: AutoencoderKLWan, clips: Clips, batch: int, frames: int) -> None:
        self._vae, self._clips, self._batch, self._frames = vae, clips, batch, frames

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"vae": self._vae}

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        if draw.progress < _PICTURES_UNTIL:
            clips = self._clips(draw.rng, self._batch * _PICTURES_FOR_A_CLIP, 1)
        else:
            clips = self._clips(draw.rng, self._batch, self._frames)
        pixels = to_pixels(clips.to(self._vae.device))
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
            posterior = self._vae.encode(pixels).latent_dist
            latents = posterior.mean + posterior.std * torch.randn(
                posterior.mean.shape, generator=draw.noise, device=pixels.device
            )
            seen = self._vae.decode(latents).sample.float()
        miss = seen - pixels
        weight = foreground(pixels)
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float())
        return {
            "absolute": (weight * miss.abs()).mean(),
            "square": (weight * miss**2).mean(),
            "kl": _KL * kl.mean(),
        }


def foreground(pixels: torch.Tensor) -> torch.Tensor:
    """How much a pixel counts, [B, 1, T, H, W], 1 on average: more where a clip is unlike its median colour.

    A shape on a background that is nearly its colour is otherwise not worth the trouble of drawing it.
    """
    median = pixels.flatten(2).median(dim=2).values[:, :, None, None, None]
    away = (pixels - median).abs().amax(dim=1, keepdim=True)
    near = functional.max_pool3d((away > 0.05).float(), (1, 5, 5), stride=1, padding=(0, 2, 2))
    weight = 1 + _FOREGROUND * near
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)


@torch.no_grad()
def encode(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """Latents of clips in -1..1 as the VAE scales them, float32 [B, C, T, h, w]."""
    latents: torch.Tensor = vae.encode(pixels).latent_dist.mode()
    return latents.float()


def measure_latents(vae: AutoencoderKLWan, clips: torch.Tensor) -> None:
    """Write the mean and deviation of each latent channel over uint8 ``clips`` into the VAE's config."""
    latents = torch.cat([encode(vae, to_pixels(some.to(vae.device))) for some in torch.split(clips, 16)])
    deviation, mean = torch.std_mean(latents, dim=(0, 2, 3, 4))
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=deviation.tolist())


@torch.no_grad()
def psnr(vae: AutoencoderKLWan, clips: torch.Tensor) -> float:
    """Mean over uint8 ``clips`` of the peak signal-to-noise ratio of their reconstructions, in dB."""
    found = []
    for some in torch.split(clips, 16):
        pixels = to_pixels(some.to(vae.device))
        seen = vae.decode(encode(vae, pixels)).sample.clamp(-1, 1)
        error = ((seen - pixels) / 2) ** 2
        found.append(-10 * error.mean(dim=(1, 2, 3, 4)).log10())
    return float(torch.cat(found).mean())
