"""How each family tells its transformer about an image and about the timestep.

The three families differ in nothing else during denoising:

* T2V: nothing but the noisy latents.
* I2V: 20 more channels beside the 16 noisy ones, a mask and the encoded image.
* TI2V: the image is latent frame 0 itself, pinned, and its tokens are told timestep 0.
"""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers.video_processor import VideoProcessor
from PIL.Image import Image

from adapters.wan_local.engine.job import WanJob
from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.engine.model import WanModel


class Condition(Protocol):
    """One job's conditioning. Latents are normalised float32 [1, C, T, H, W]."""

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        """What the transformer reads: [1, in_channels, T, H, W]."""
        ...

    def timestep(self, t: torch.Tensor) -> torch.Tensor:
        """The scalar ``t`` in the shape the transformer wants: [1], or [1, tokens]."""
        ...

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """The clip's latents after the last step."""
        ...


class TextOnly:
    """T2V: no image."""

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def timestep(self, t: torch.Tensor) -> torch.Tensor:
        return t.expand(1)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class ImageChannels:
    """I2V: ``channels`` [1, 20, T, H, W] is concatenated to the latents."""

    def __init__(self, channels: torch.Tensor) -> None:
        self._channels = channels

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([latents, self._channels], dim=1)

    def timestep(self, t: torch.Tensor) -> torch.Tensor:
        return t.expand(1)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class PerToken:
    """TI2V: a timestep per token; an image is ``pinned`` [1, C, 1, H, W] as latent frame 0."""

    def __init__(self, like: torch.Tensor, pinned: torch.Tensor | None) -> None:
        self._mask = torch.ones((1, 1, *like.shape[2:]), dtype=torch.float32, device=like.device)
        self._pinned = pinned
        if pinned is not None:
            self._mask[:, :, 0] = 0

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        if self._pinned is None:
            return latents
        return (1 - self._mask) * self._pinned + self._mask * latents

    def timestep(self, t: torch.Tensor) -> torch.Tensor:
        # One token covers a 2x2 patch of latents.
        return (self._mask[0, 0, :, ::2, ::2] * t).flatten().unsqueeze(0)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return self.model_input(latents)


def make_condition(model: WanModel, job: WanJob, noise: torch.Tensor) -> Condition:
    """Encode the job's images, if it has any, into its family's condition.

    ``job`` has passed ``settle``. The VAE's encoder cache may hold tensors afterwards if this raises.
    """
    first = None if job.image is None else _pixels(model, job, job.image)
    if model.family == "ti2v":
        return PerToken(noise, None if first is None else _encode(model, first))
    if first is None:
        return TextOnly()
    last = None if job.last_image is None else _pixels(model, job, job.last_image)
    empty = first.new_zeros(1, 3, job.frames - (1 if last is None else 2), job.height, job.width)
    clip = torch.cat([first, empty] if last is None else [first, empty, last], dim=2)
    mask = _known_frames(noise, model.frame_step, last_known=last is not None)
    return ImageChannels(torch.cat([mask, _encode(model, clip)], dim=1))


def _pixels(model: WanModel, job: WanJob, image: Image) -> torch.Tensor:
    """[1, 3, 1, H, W] in -1..1."""
    processor = VideoProcessor(vae_scale_factor=model.vae.config.scale_factor_spatial)
    pixels: torch.Tensor = processor.preprocess(image.convert("RGB"), height=job.height, width=job.width)
    return pixels.to(model.device, torch.float32).unsqueeze(2)


def _encode(model: WanModel, pixels: torch.Tensor) -> torch.Tensor:
    latents = model.vae.encode(pixels.to(model.vae.dtype)).latent_dist.mode()
    return normalise(model.vae, latents.to(torch.float32))


def _known_frames(noise: torch.Tensor, frame_step: int, *, last_known: bool) -> torch.Tensor:
    """[1, 4, T, H, W]: channel k of latent frame t is 1 if the image fixes the pixel frame it stands for.

    A latent frame stands for 4 pixel frames, the first one for the first frame alone, 4 times over.
    """
    mask = torch.zeros((1, frame_step, *noise.shape[2:]), dtype=torch.float32, device=noise.device)
    mask[:, :, 0] = 1
    if last_known:
        mask[:, -1, -1] = 1
    return mask
