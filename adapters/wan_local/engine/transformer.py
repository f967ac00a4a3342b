"""One expert's forwards of one job.

Does what ``WanTransformer3DModel.forward`` does, with what does not change within a job worked out once: the
rotary tables, the projected prompts, and within a step whatever the two halves of guidance share. Three more
things are cheaper here and equal in exact arithmetic:

* A TI2V clip has one timestep, or two where an image is pinned. diffusers embeds one for each of the clip's
  tokens (27,280 at 720p); here the distinct ones are embedded and looked up by token.
* With ``batched``, both halves of guidance go through the blocks as one batch.
* A guidance scale of 1 needs no second half; the caller then passes one prompt.

The blocks, and whatever is hung on them (LoRA, compilation, offloading), are diffusers' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel


@dataclass(frozen=True, kw_only=True)
class Timesteps:
    """``values`` [n] are the distinct timesteps; ``of_token`` [tokens] says which of them each token has.

    None for the latter where n is 1. ``by_token``: diffusers embeds this model's timesteps token by token.
    """

    values: torch.Tensor
    of_token: torch.Tensor | None = None
    by_token: bool = False


# Few rows are multiplied in another order than the thousands that diffusers has; from 16 on, in the same.
_ROWS = 16


class PromptedExpert:
    """A transformer with a job's prompts: ``embeds`` [1, 512, D] each, the conditional one first."""

    def __init__(
        self, transformer: WanTransformer3DModel, embeds: Sequence[torch.Tensor], *, batched: bool
    ) -> None:
        self._network = transformer
        self._texts = [transformer.condition_embedder.text_embedder(each) for each in embeds]
        self._batched = batched
        self._rotary: tuple[torch.Tensor, torch.Tensor] | None = None

    def velocities(self, noisy: torch.Tensor, timesteps: Timesteps, prompts: int) -> list[torch.Tensor]:
        """What it predicts for each of the first ``prompts`` prompts: [1, C, T, H, W] each.

        Args:
            noisy: [1, in_channels, T, H, W], any dtype.
        """
        network = self._network
        noisy = noisy.to(network.dtype)
        if self._rotary is None:
            self._rotary = network.rope(noisy)
        tokens = network.patch_embedding(noisy).flatten(2).transpose(1, 2).contiguous()
        embedded, modulation = self._embed_time(timesteps)
        texts = self._texts[:prompts]
        batches = [torch.cat(texts)] if self._batched else texts
        found: list[torch.Tensor] = []
        for text in batches:
            hidden = tokens.expand(text.shape[0], -1, -1)
            for block in network.blocks:
                hidden = block(hidden, text, modulation, self._rotary)
            found += self._project(hidden, embedded, noisy.shape).chunk(len(hidden))
        return found

    def _embed_time(self, timesteps: Timesteps) -> tuple[torch.Tensor, torch.Tensor]:
        """[1, D] and [1, 6, D]; or, by token, [1, tokens, D] and [1, tokens, 6, D]."""
        embedder = self._network.condition_embedder
        values = timesteps.values.repeat(_ROWS) if timesteps.by_token else timesteps.values
        waves = embedder.timesteps_proj(values)
        waves = waves.to(next(iter(embedder.time_embedder.parameters())).dtype)
        embedded = embedder.time_embedder(waves).to(self._texts[0].dtype)
        modulation = embedder.time_proj(embedder.act_fn(embedded)).unflatten(1, (6, -1))
        if timesteps.of_token is None:
            return embedded[:1], modulation[:1]
        return embedded[timesteps.of_token].unsqueeze(0), modulation[timesteps.of_token].unsqueeze(0)

    def _project(self, hidden: torch.Tensor, embedded: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Tokens [B, tokens, D] to pixels of the latent space [B, C, T, H, W]."""
        network = self._network
        table = network.scale_shift_table
        if embedded.ndim == 3:
            shift, scale = (part.squeeze(2) for part in (table + embedded.unsqueeze(2)).chunk(2, dim=2))
        else:
            shift, scale = (table + embedded.unsqueeze(1)).chunk(2, dim=1)
        hidden = (network.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        patches = network.proj_out(hidden)
        p_t, p_h, p_w = network.config.patch_size
        frames, height, width = shape[2] // p_t, shape[3] // p_h, shape[4] // p_w
        patches = patches.reshape(
            -1, frames, height, width, p_t, p_h, p_w, patches.shape[-1] // (p_t * p_h * p_w)
        )
        pixels: torch.Tensor = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return pixels.flatten(6, 7).flatten(4, 5).flatten(2, 3)
