"""All that can be known of a folder before a weight is read, and whether its parts belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.files import AGAIN
from adapters.wan_local.engine.folder import WanFolder
from adapters.wan_local.engine.weights import Part, open_part

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A folder's networks without weights, whose headers fit their configs, and its small parts."""

    folder: WanFolder
    tokenizer: PreTrainedTokenizerBase
    parts: Mapping[str, Part]


def read_blueprint(folder: WanFolder) -> Blueprint:
    """Build every network without weights and check it against its files' headers and the other parts.

    Raises:
        FolderError: naming the file, what is wrong with it and what to do about it.
    """
    path = folder.path
    parts = {name: open_part(path, name) for name in folder.networks}
    _check_text(parts)
    _check_channels(folder, parts)
    if "transformer_2" in parts:
        _check_experts(parts)
    return Blueprint(
        folder=folder,
        tokenizer=_open_tokenizer(path / "tokenizer", parts["text_encoder"]),
        parts=parts,
    )


def _open_tokenizer(path: Path, encoder: Part) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        largest = max(tokenizer.get_vocab().values())
    except _UNREADABLE as error:
        raise FolderError(f"{path} does not load ({error}): {AGAIN}") from error
    known = encoder.network.config.vocab_size
    if largest >= known:
        raise FolderError(
            f"{path} has token ids up to {largest}, and {encoder.path / 'config.json'} has a vocab_size of "
            f"{known}: {AGAIN}"
        )
    return tokenizer


def _check_text(parts: Mapping[str, Part]) -> None:
    encoder, transformer = parts["text_encoder"], parts["transformer"]
    given, taken = encoder.network.config.d_model, transformer.network.config.text_dim
    if given != taken:
        raise FolderError(
            f"{encoder.path / 'config.json'} has a d_model of {given}, and "
            f"{transformer.path / 'config.json'} a text_dim of {taken}: {AGAIN}"
        )


def _check_channels(folder: WanFolder, parts: Mapping[str, Part]) -> None:
    vae, transformer = parts["vae"], parts["transformer"]
    latent = vae.network.config.z_dim
    # An I2V transformer also reads a mask, a channel for each frame of a latent one, and the encoded image.
    more = latent + vae.network.config.scale_factor_temporal if folder.family == "i2v" else 0
    config = transformer.network.config
    for name, given, needed in (
        ("in_channels", config.in_channels, latent + more),
        ("out_channels", config.out_channels, latent),
    ):
        if given != needed:
            raise FolderError(
                f"{transformer.path / 'config.json'} has {given} {name}, and the VAE's z_dim of {latent} "
                f"needs {needed}: {AGAIN}"
            )


def _check_experts(parts: Mapping[str, Part]) -> None:
    high, low = parts["transformer"], parts["transformer_2"]
    for name, value in high.network.config.items():
        other = low.network.config.get(name)
        if not name.startswith("_") and other != value:
            raise FolderError(
                f"{low.path / 'config.json'} has {name} {other}, and {high.path / 'config.json'} {value}: "
                f"the two experts must be alike; {AGAIN}"
            )
