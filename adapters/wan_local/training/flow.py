"""The transformers' objective: flow matching (Lipman et al. 2023, arXiv 2210.02747; section 3 of Esser et al.
2024, arXiv 2403.03206), each expert on its own side of the boundary.

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
    """The noise levels an expert sees: evenly spread from ``low`` to ``high`` once ``shift`` is undone."""

    low: float
    high: float
    shift: float

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Sigmas [count]."""
        start, end = (sigma / (self.shift + (1 - self.shift) * sigma) for sigma in (self.low, self.high))
        even = start + (end - start) * torch.rand(count, generator=generator, device=generator.device)
        return self.shift * even / (1 + (self.shift - 1) * even)


@dataclass(frozen=True, kw_only=True)
class Expert:
    name: str
    transformer: WanTransformer3DModel
    noise: Noise


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
    """Train ``experts``, and the text encoder unless ``frozen_text``, on what ``batches`` yields.

    ``compiled`` takes half a minute at the start and a quarter off every step.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        prompts: Prompts,
        batches: Callable[[Draw], Batch],
        *,
        frozen_text: bool,
        compiled: bool,
    ) -> None:
        self._experts, self._prompts, self._batches, self._frozen = experts, prompts, batches, frozen_text
        for expert in experts:
            pad_by_weight(expert.transformer)
            if compiled:
                expert.transformer.compile_repeated_blocks(dynamic=False)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        networks: dict[str, nn.Module] = {expert.name: expert.transformer for expert in self._experts}
        return networks if self._frozen else networks | {"text": self._prompts.encoder}

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        batch = self._batches(draw)
        captions = [
            str(draw.rng.choice(_NOTHING)) if draw.rng.random() < _DROPPED else caption
            for caption in batch.captions
        ]
        with (
            torch.autocast(batch.latents.device.type, dtype=torch.bfloat16),
            _attention(batch.latents.device),
        ):
            with torch.no_grad() if self._frozen else nullcontext():
                embeds = self._prompts(captions)
            return {expert.name: _miss(expert, batch, embeds, draw.noise) for expert in self._experts}


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """The kernel to use: on a CPU, the fused one's backward takes half a step of a small model."""
    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return kernel if device.type == "cpu" else nullcontext()


def _miss(expert: Expert, batch: Batch, embeds: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    clean = batch.latents
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    sigma = expert.noise.draw(len(clean), generator)[:, None, None, None, None]
    if batch.given is not None:
        sigma = sigma * (1 - batch.given)
    noisy = (1 - sigma) * clean + sigma * noise
    read = noisy if batch.channels is None else torch.cat([noisy, batch.channels], dim=1)
    found = expert.transformer(read, _timesteps(expert, sigma, clean), embeds).sample
    error = (found.float() - (noise - clean)) ** 2
    counts = torch.ones_like(error) if batch.given is None else (1 - batch.given).expand_as(error)
    mean: torch.Tensor = (error * counts).sum() / counts.sum()
    return mean


def _timesteps(expert: Expert, sigma: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """[B]; or, where a clip's frames differ, [B, tokens]."""
    if sigma.shape[2] == 1:
        return 1000 * sigma.flatten()
    step_t, step_h, step_w = expert.transformer.config.patch_size
    each = sigma[:, 0].expand(-1, *clean.shape[2:])[:, ::step_t, ::step_h, ::step_w]
    return 1000 * each.flatten(1)
