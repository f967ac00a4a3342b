"""A transformer's objective: flow matching (Lipman et al. 2023, arXiv 2210.02747; section 3 of Esser et al.
2024, arXiv 2403.03206), at the noise levels that are its own.

``x = (1 - sigma) x0 + sigma n``, the network predicts ``n - x0`` at timestep ``1000 sigma``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from adapters.wan_local.engine.official import NEGATIVE_PROMPT
from adapters.wan_local.training.run import Draw
from adapters.wan_local.training.text import Prompts, pad_by_weight

_DROPPED = 0.12  # of the captions; guidance steps away from what comes without one
_NOTHING = ("", NEGATIVE_PROMPT)  # the two ways to be asked for nothing


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise levels to be seen: evenly spread from ``low`` to ``high`` once ``shift`` is undone."""

    low: float
    high: float
    shift: float

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Sigmas [count], one from each of as many equal parts, so that batches are alike."""
        start, end = (sigma / (self.shift + (1 - self.shift) * sigma) for sigma in (self.low, self.high))
        within = torch.rand(count, generator=generator, device=generator.device)
        parts = (torch.arange(count, device=generator.device) + within) / count
        even = start + (end - start) * parts
        return self.shift * even / (1 + (self.shift - 1) * even)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips to learn from.

    Attributes:
        latents: normalised, [B, C, T, h, w].
        captions: B of them.
        channels: what an I2V transformer reads beside the latents, [B, 20, T, h, w].
        given: 1 where TI2V is given a latent frame, [B, 1, T, 1, 1]: it is clean, its tokens are at timestep
            0, and nothing is learnt from it.
    """

    latents: torch.Tensor
    captions: Sequence[str]
    channels: torch.Tensor | None = None
    given: torch.Tensor | None = None


class FlowMatching:
    """Train a transformer at the noise levels of ``noise``, and the text encoder unless ``frozen_text``.

    ``compiled`` takes half a minute at the start and a quarter off every step.
    """

    def __init__(
        self,
        transformer: WanTransformer3DModel,
        noise: Noise,
        prompts: Prompts,
        batches: Callable[[Draw], Batch],
        *,
        frozen_text: bool,
        compiled: bool,
    ) -> None:
        self._transformer, self._noise, self._batches = transformer, noise, batches
        self._prompts, self._frozen = prompts, frozen_text
        pad_by_weight(transformer)
        if compiled:
            transformer.compile_repeated_blocks(dynamic=False)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        trained = {"transformer": self._transformer}
        return trained if self._frozen else trained | {"text_encoder": self._prompts.encoder}

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        batch = self._batches(draw)
        captions = [
            str(draw.rng.choice(_NOTHING)) if draw.rng.random() < _DROPPED else caption
            for caption in batch.captions
        ]
        device = batch.latents.device
        with torch.autocast(device.type, dtype=torch.bfloat16), _attention(device):
            with torch.no_grad() if self._frozen else nullcontext():
                embeds = self._prompts(captions)
            return {"velocity": self._miss(batch, embeds, draw.noise)}

    def _miss(self, batch: Batch, embeds: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        clean = batch.latents
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        sigma = self._noise.draw(len(clean), generator)[:, None, None, None, None]
        if batch.given is not None:
            sigma = sigma * (1 - batch.given)
        noisy = (1 - sigma) * clean + sigma * noise
        read = noisy if batch.channels is None else torch.cat([noisy, batch.channels], dim=1)
        found = self._transformer(read, self._timesteps(sigma, clean), embeds).sample
        error = (found.float() - (noise - clean)) ** 2
        counts = torch.ones_like(error) if batch.given is None else (1 - batch.given).expand_as(error)
        mean: torch.Tensor = (error * counts).sum() / counts.sum()
        return mean

    def _timesteps(self, sigma: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        """[B]; or, where a clip's frames differ, [B, tokens]."""
        if sigma.shape[2] == 1:
            return 1000 * sigma.flatten()
        step_t, step_h, step_w = self._transformer.config.patch_size
        each = sigma[:, 0].expand(-1, *clean.shape[2:])[:, ::step_t, ::step_h, ::step_w]
        return 1000 * each.flatten(1)


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """The kernel to use: on a CPU, the fused one's backward takes half a step of a small model."""
    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return kernel if device.type == "cpu" else nullcontext()
