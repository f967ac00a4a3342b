"""The latent space: its noise, and its scale inside and outside the VAE.

The transformers see latents normalised per channel by the VAE config's mean and std.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan

from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.model import WanModel


def shape_of(model: WanModel, job: SettledJob) -> torch.Size:
    """Of a job's latents: 1, C, T, H, W."""
    config = model.vae.config
    return torch.Size(
        (
            1,
            config.z_dim,
            (job.frames - 1) // config.scale_factor_temporal + 1,
            job.height // config.scale_factor_spatial,
            job.width // config.scale_factor_spatial,
        )
    )


def draw_noise(model: WanModel, job: SettledJob) -> tuple[torch.Tensor, torch.Generator]:
    """Float32 noise [1, C, T, H, W] on the model's device, the same for a seed on every device.

    With it the CPU generator that drew it, for solvers that go on drawing.
    """
    generator = torch.Generator().manual_seed(job.seed)
    noise = torch.randn(shape_of(model, job), generator=generator, dtype=torch.float32)
    return noise.to(model.device), generator


def normalise(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """VAE latents [1, C, T, H, W] to the transformers' scale."""
    mean, inverse_std = _moments(vae, latents)
    return (latents - mean) * inverse_std


def denormalise(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """The transformers' latents [1, C, T, H, W] to the VAE's scale."""
    mean, inverse_std = _moments(vae, latents)
    return latents / inverse_std + mean


def _moments(vae: AutoencoderKLWan, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Multiplying and dividing by 1/std, as the diffusers pipelines do, keeps the last bit equal to theirs.
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
    return mean, 1.0 / std
