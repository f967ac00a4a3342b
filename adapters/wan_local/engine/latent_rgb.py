"""Latents to small pictures by a linear map, for previews that cost next to nothing.

The colour of a latent pixel is close to linear in its channels. The map, [C, 3] and an offset [3], is fitted
by least squares (with a slight ridge) to what the loaded VAE itself makes of smooth random pictures: encoded,
decoded, and averaged over the square that a latent pixel stands for. It is fitted once and kept beside the
weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as functional
from diffusers import AutoencoderKLWan
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from adapters.wan_local.engine.control import Frame
from adapters.wan_local.engine.decode import decode_chunks, to_uint8
from adapters.wan_local.engine.files import write_whole
from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.engine.model import WanModel

FILE = "reelgate-latent-rgb.safetensors"
MOST_PICTURES = 8
_RIDGE = 0.03
_SAMPLES, _LATENT_SIDE, _COARSE_SIDES = 12, 16, (2, 4, 8, 16)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentRgb:
    """``weight`` [C, 3] and ``bias`` [3], float32, from normalised latents to -1..1."""

    weight: torch.Tensor
    bias: torch.Tensor

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """[1, C, T, H, W] to [1, 3, T, H, W]."""
        colour = torch.einsum("bcthw,cr->brthw", latents.float(), self.weight.to(latents.device))
        return colour + self.bias.to(latents.device).view(1, 3, 1, 1, 1)

    def pictures(self, latents: torch.Tensor) -> list[Frame]:
        """At most 8 of the clip's latent frames, evenly spread, as uint8 [H, W, 3] at the latents' own size.

        Args:
            latents: normalised [1, C, T, H, W].
        """
        count = min(latents.shape[2], MOST_PICTURES)
        chosen = torch.linspace(0, latents.shape[2] - 1, count).round().long()
        return list(to_uint8(self.pixels(latents[:, :, chosen.to(latents.device)])))


def latent_rgb(model: WanModel) -> LatentRgb:
    """The map of this model: the one beside its weights, or a new one, which is put there."""
    path = model.path / FILE
    kept = _read(path, model.digest)
    if kept is not None and kept.weight.shape == (model.vae.config.z_dim, 3):
        return kept
    fitted = fit(model.vae)
    _write(path, fitted, model.digest)
    return fitted


@torch.no_grad()
def fit(vae: AutoencoderKLWan) -> LatentRgb:
    """Fit the map to a VAE; the same VAE gives the same map."""
    rows, colours = [], []
    scale = int(vae.config.scale_factor_spatial)
    generator = torch.Generator().manual_seed(0)
    try:
        for number in range(_SAMPLES):
            picture = _smooth_picture(
                generator, _COARSE_SIDES[number % len(_COARSE_SIDES)], _LATENT_SIDE * scale
            )
            mode = vae.encode(picture.to(vae.device, vae.dtype)).latent_dist.mode()
            latents = normalise(vae, mode.float())
            decoded = next(decode_chunks(vae, latents))[:, :, 0].float()
            rows.append(latents[0].flatten(1).T.cpu())
            colours.append(functional.avg_pool2d(decoded, scale)[0].flatten(1).T.cpu())
    finally:
        vae.clear_cache()
    features = torch.cat(rows)
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    # The rows below are what makes it a ridge fit: channels that hardly vary would else get huge weights,
    # and normalised latents vary by about 1.
    ridge = _RIDGE * len(features) ** 0.5 * torch.eye(features.shape[1], dtype=torch.float64)
    target = torch.cat([torch.cat(colours).double(), torch.zeros(len(ridge), 3, dtype=torch.float64)])
    found = torch.linalg.lstsq(torch.cat([features, ridge]), target).solution.float()
    return LatentRgb(weight=found[:-1].contiguous(), bias=found[-1].contiguous())


def _smooth_picture(generator: torch.Generator, coarse: int, side: int) -> torch.Tensor:
    """A random field of colours [1, 3, 1, side, side] in -1..1, ``coarse`` patches to a side."""
    field = torch.rand((1, 3, coarse, coarse), generator=generator) * 2 - 1
    return functional.interpolate(field, size=(side, side), mode="bicubic").clamp(-1, 1).unsqueeze(2)


def _read(path: Path, digest: str) -> LatentRgb | None:
    """What lies there, if it is a map and made for the weights of ``digest``."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("weights") != digest:
                return None
            kept = LatentRgb(*(file.get_tensor(name).clone() for name in ("weight", "bias")))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        log.warning("%s cannot be read (%s) and is made anew", path, error)
        return None
    tensors = (kept.weight, kept.bias)
    sound = kept.bias.shape == (3,) and all(
        each.dtype == torch.float32 and bool(each.isfinite().all()) for each in tensors
    )
    return kept if sound else None


def _write(path: Path, fitted: LatentRgb, digest: str) -> None:
    content = save({"weight": fitted.weight, "bias": fitted.bias}, metadata={"weights": digest})
    try:
        write_whole(path, content)
    except OSError as error:  # a folder that is read only: every process fits the map again
        log.info("the preview map cannot be kept beside the weights: %s", error)
