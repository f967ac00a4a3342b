"""The networks of one folder, loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel

from adapters.wan_local.engine.errors import FolderError, naming_out_of_memory
from adapters.wan_local.engine.folder import WanFolder
from adapters.wan_local.engine.official import Expert, Family

_UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)


@dataclass(frozen=True, kw_only=True)
class WanModel:
    """One family's networks on one device, in eval mode.

    ``transformer`` is the high-noise expert, or the only one; ``transformer_2`` is the low-noise expert and
    is there exactly when ``boundary`` is not None.
    """

    family: Family
    boundary: float | None
    device: torch.device
    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    vae: AutoencoderKLWan
    transformer: WanTransformer3DModel
    transformer_2: WanTransformer3DModel | None
    scheduler_config: dict[str, Any]

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


def load_model(folder: WanFolder, device: torch.device, dtype: torch.dtype) -> WanModel:
    """Load every part of ``folder`` onto ``device``.

    The transformers and the text encoder get ``dtype``, less the modules diffusers keeps in float32 for
    accuracy; the VAE is always float32, as diffusers' Wan documentation asks.

    Raises:
        FolderError: a part does not load, or its weights do not belong to its config.
        OutOfMemory: it does not fit on the device.
    """
    second = folder.boundary is not None
    path = folder.path
    return WanModel(
        family=folder.family,
        boundary=folder.boundary,
        device=device,
        tokenizer=_tokenizer(path / "tokenizer"),
        text_encoder=_network(UMT5EncoderModel, path / "text_encoder", device, dtype),
        vae=_network(AutoencoderKLWan, path / "vae", device, torch.float32),
        transformer=_network(WanTransformer3DModel, path / "transformer", device, dtype),
        transformer_2=_network(WanTransformer3DModel, path / "transformer_2", device, dtype)
        if second
        else None,
        scheduler_config=dict(UniPCMultistepScheduler.load_config(path / "scheduler", local_files_only=True)),
    )


def _tokenizer(path: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except _UNREADABLE as error:
        raise FolderError(f"{path} does not load ({error}): download the folder again") from error


def _network(kind: Any, path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    try:
        with naming_out_of_memory("load"):
            network, report = kind.from_pretrained(
                path, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
            )
    except _UNREADABLE as error:
        raise FolderError(f"{path} does not load ({error}): download the folder again") from error
    # Both libraries fill weights that are missing with random numbers and only log it.
    missing = sorted(report["missing_keys"])
    if missing:
        raise FolderError(
            f"{path} lacks {len(missing)} weights, such as {missing[0]}: download the folder again"
        )
    with naming_out_of_memory("load"):
        return network.eval().to(device)
