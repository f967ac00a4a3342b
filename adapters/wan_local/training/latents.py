"""Films as latents, encoded once and used for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.training.autoencoder import encode
from adapters.wan_local.training.captions import caption
from adapters.wan_local.training.films import sample_films, to_pixels
from adapters.wan_local.training.flow import Batch
from adapters.wan_local.training.run import Draw
from adapters.wan_local.training.scenes import Scene

_GROUP = 16  # clips that are filmed and encoded together
_TWO = 0.5  # of the clips have two actors, which is harder to learn

Condition = Callable[[AutoencoderKLWan, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class _Group:
    scenes: Sequence[Scene]
    latents: torch.Tensor
    channels: torch.Tensor | None


class Window:
    """A window on an endless row of films, which moves on as the steps do.

    What it shows at a step depends on the seed and the step alone. Steps do not go back.

    Args:
        vae: encodes; its config's mean and deviation normalise.
        seed: of the row.
        clips: how many the window shows; a multiple of 16.
        steps: after how many 16 of them are replaced.
        batch: clips that one batch draws.
        size, frames: of the films.
        channels: makes an I2V model's extra channels of clips in -1..1.
        given: how often the first latent frame is given to the model; None where there is no such thing.
    """

    def __init__(
        self,
        vae: AutoencoderKLWan,
        *,
        seed: int,
        clips: int,
        steps: int,
        batch: int,
        size: int,
        frames: int,
        channels: Condition | None = None,
        given: float | None = None,
    ) -> None:
        self._vae, self._seed, self._steps, self._batch = vae, seed, steps, batch
        self._size, self._frames, self._channels, self._given = size, frames, channels, given
        self._groups: deque[_Group] = deque(maxlen=clips // _GROUP)
        self._next = 0

    def __call__(self, draw: Draw) -> Batch:
        first = draw.step // self._steps
        self._next = max(self._next, first)
        while self._next < first + (self._groups.maxlen or 0):
            self._groups.append(self._make(self._next))
            self._next += 1
        picks = draw.rng.integers(len(self._groups) * _GROUP, size=self._batch)
        chosen = [(self._groups[pick // _GROUP], pick % _GROUP) for pick in picks]
        return Batch(
            latents=torch.stack([group.latents[at] for group, at in chosen]),
            captions=[caption(group.scenes[at], draw.rng) for group, at in chosen],
            channels=None
            if self._channels is None
            else torch.stack([group.channels[at] for group, at in chosen if group.channels is not None]),
            given=self._draw_given(draw.rng),
        )

    def _make(self, number: int) -> _Group:
        rng = np.random.default_rng((self._seed, number))
        scenes, clips = sample_films(rng, _GROUP, self._size, self._frames, two=_TWO)
        pixels = to_pixels(clips.to(self._vae.device))
        channels = None if self._channels is None else self._channels(self._vae, pixels)
        return _Group(scenes=scenes, latents=normalised(self._vae, pixels), channels=channels)

    def _draw_given(self, rng: np.random.Generator) -> torch.Tensor | None:
        if self._given is None:
            return None
        given = torch.zeros(self._batch, 1, (self._frames - 1) // 4 + 1, 1, 1)
        given[:, 0, 0, 0, 0] = torch.from_numpy(rng.random(self._batch) < self._given).float()
        return given.to(self._vae.device)


def normalised(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """Latents of clips in -1..1 as the transformers see them, [B, C, T, h, w]."""
    return normalise(vae, encode(vae, pixels))


def image_channels(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """What I2V reads of a first frame, [B, 20, T, h, w]: a mask, and the frame encoded before nothing."""
    first = torch.zeros_like(pixels)
    first[:, :, 0] = pixels[:, :, 0]
    seen = normalised(vae, first)
    mask = seen.new_zeros(len(seen), 4, *seen.shape[2:])
    mask[:, :, 0] = 1
    return torch.cat([mask, seen], dim=1)
