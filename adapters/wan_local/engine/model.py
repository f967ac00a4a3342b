"""The networks of one folder, loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from adapters.wan_local.engine.blueprint import read_blueprint
from adapters.wan_local.engine.errors import naming_out_of_memory
from adapters.wan_local.engine.folder import WanFolder
from adapters.wan_local.engine.manifest import pin
from adapters.wan_local.engine.official import Expert, Family
from adapters.wan_local.engine.progress import OnProgress, unheard
from adapters.wan_local.engine.weights import fill


@dataclass(frozen=True, kw_only=True)
class WanModel:
    """One family's networks on one device, in eval mode.

    ``transformer`` is the high-noise expert, or the only one; ``transformer_2`` is the low-noise expert and
    is there exactly when ``boundary`` is not None. ``digest``, 64 hex digits, stands for every file of the
    folder ``path``: two models of one digest have the same weights, configs and tokenizer.
    """

    path: Path
    digest: str
    family: Family
    boundary: float | None
    device: torch.device
    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel
    transformer_2: WanTransformer3DModel | None

    def expert(self, name: Expert) -> WanTransformer3DModel:
        """The transformer for the high-noise or low-noise steps."""
        if name == "low" and self.transformer_2 is not None:
            return self.transformer_2
        return self.transformer

    @property
    def width_step(self) -> int:
        """Widths are multiples of this many pixels."""
        return int(self.vae.config.scale_factor_spatial * self.transformer.config.patch_size[2])

    @property
    def height_step(self) -> int:
        """Heights are multiples of this many pixels."""
        return int(self.vae.config.scale_factor_spatial * self.transformer.config.patch_size[1])

    @property
    def frame_step(self) -> int:
        """Frame counts are a multiple of this plus 1."""
        return int(self.vae.config.scale_factor_temporal)


def load_model(
    folder: WanFolder, device: torch.device, dtype: torch.dtype, on_progress: OnProgress = unheard
) -> WanModel:
    """Check ``folder``, pin its files, and load every part of it onto ``device``.

    The transformers and the text encoder get ``dtype``, less the modules diffusers keeps in float32 for
    accuracy; the VAE is always float32, as diffusers' Wan documentation asks.

    Raises:
        FolderError: parts do not fit their configs or each other, or a file is not what it was.
        OutOfMemory: it does not fit on the device.
    """
    blueprint = read_blueprint(folder)
    digest = pin(folder, on_progress)
    with naming_out_of_memory("load"):
        networks = {name: fill(part, device, dtype, on_progress) for name, part in blueprint.parts.items()}
    return WanModel(
        path=folder.path,
        digest=digest,
        family=folder.family,
        boundary=folder.boundary,
        device=device,
        tokenizer=blueprint.tokenizer,
        text_encoder=networks["text_encoder"],
        vae=networks["vae"],
        transformer=networks["transformer"],
        transformer_2=networks.get("transformer_2"),
    )
