"""How each family tells its transformer about an image and about the timestep.

The three families differ in nothing else during denoising:

* T2V, and TI2V without an image: nothing but the noisy latents.
* I2V: 20 more channels beside the 16 noisy ones, a mask and the encoded image.
* TI2V with an image: it is latent frame 0 itself, pinned, and its tokens are told timestep 0.
"""

from __future__ import annotations

from typing import Protocol

import torch
from diffusers.video_processor import VideoProcessor
from PIL.Image import Image

from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.transformer import Timesteps


class Condition(Protocol):
    """One job's conditioning. Latents are normalised float32 [1, C, T, H, W]."""

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        """What the transformer reads: [1, in_channels, T, H, W]."""
        ...

    def timesteps(self, t: torch.Tensor) -> Timesteps:
        """The step's timestep, a scalar, as each token has it."""
        ...

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        """The clip's latents after the last step."""
        ...


class TextOnly:
    """No image. ``by_token``: see ``Timesteps``."""

    def __init__(self, *, by_token: bool) -> None:
        self._by_token = by_token

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def timesteps(self, t: torch.Tensor) -> Timesteps:
        return Timesteps(values=t.expand(1), by_token=self._by_token)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class ImageChannels:
    """I2V: ``channels`` [1, 20, T, H, W] is concatenated to the latents."""

    def __init__(self, channels: torch.Tensor) -> None:
        self._channels = channels

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([latents, self._channels], dim=1)

    def timesteps(self, t: torch.Tensor) -> Timesteps:
        return Timesteps(values=t.expand(1))

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class PinnedFrame:
    """TI2V: an image, ``pinned`` [1, C, 1, H, W], is latent frame 0, and its tokens are at timestep 0."""

    def __init__(self, pinned: torch.Tensor, like: torch.Tensor, patch: tuple[int, int, int]) -> None:
        self._pinned = pinned
        self._mask = torch.ones((1, 1, *like.shape[2:]), dtype=torch.float32, device=like.device)
        self._mask[:, :, 0] = 0
        step_t, step_h, step_w = patch
        # Which of (0, t) a token has: that of the first latent pixel of its patch.
        self._of_token = self._mask[0, 0, ::step_t, ::step_h, ::step_w].flatten().long()

    def model_input(self, latents: torch.Tensor) -> torch.Tensor:
        return (1 - self._mask) * self._pinned + self._mask * latents

    def timesteps(self, t: torch.Tensor) -> Timesteps:
        return Timesteps(values=torch.stack([torch.zeros_like(t), t]), of_token=self._of_token, by_token=True)

    def finish(self, latents: torch.Tensor) -> torch.Tensor:
        return self.model_input(latents)


def make_condition(model: WanModel, job: SettledJob, noise: torch.Tensor) -> Condition:
    """Encode the job's images, if it has any, into its family's condition.

    The VAE's encoder cache may hold tensors afterwards if this raises.
    """
    if job.image is None:
        return TextOnly(by_token=model.family == "ti2v")
    first = _pixels(model, job, job.image)
    if model.family == "ti2v":
        return PinnedFrame(_encode(model, first), noise, model.transformer.config.patch_size)
    last = None if job.last_image is None else _pixels(model, job, job.last_image)
    empty = first.new_zeros(1, 3, job.frames - (1 if last is None else 2), job.height, job.width)
    clip = torch.cat([first, empty] if last is None else [first, empty, last], dim=2)
    mask = _known_frames(noise, model.frame_step, last_known=last is not None)
    return ImageChannels(torch.cat([mask, _encode(model, clip)], dim=1))


def _pixels(model: WanModel, job: SettledJob, image: Image) -> torch.Tensor:
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
