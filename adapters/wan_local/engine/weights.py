"""One network of a folder: built from its config without weights, then filled from its files.

Not ``from_pretrained``, for three reasons. That fills what does not fit with random numbers and only logs
it, where this names the first mismatch before any weight is read. It leaves weights where they lie in the
file, at addresses that CPU kernels may round differently for; here each has aligned memory of its own, and
two loads agree in every bit. And it does not know our float8 folders. Values and types are the same as
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.files import AGAIN, read_json
from adapters.wan_local.engine.headers import FLOAT8, SCALE, Stored, read_headers
from adapters.wan_local.engine.progress import OnProgress

STEMS: Mapping[str, str] = MappingProxyType(
    {
        "text_encoder": "model",
        "vae": "diffusion_pytorch_model",
        "transformer": "diffusion_pytorch_model",
        "transformer_2": "diffusion_pytorch_model",
    }
)


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A parameter and where it is stored. It has several ``names`` in the network where it is tied."""

    names: tuple[str, ...]
    stored: Stored
    scale: Stored | None

    @property
    def bytes(self) -> int:
        """What is read of the file."""
        return self.stored.bytes + (self.scale.bytes if self.scale else 0)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network without its weights: parameters on the device "meta", other tensors real.

    ``weights`` has each parameter once, in the order in which they are stored.
    """

    name: str
    path: Path
    network: Any
    weights: tuple[Weight, ...]

    @property
    def bytes(self) -> int:
        """What is read of the files."""
        return sum(weight.bytes for weight in self.weights)

    @property
    def stored_as(self) -> dict[str, int]:
        """The bytes of each type in the files, in safetensors' words; scales count to float8."""
        sums: dict[str, int] = {}
        for weight in self.weights:
            sums[weight.stored.dtype] = sums.get(weight.stored.dtype, 0) + weight.bytes
        return sums

    def dtype_of(self, weight: Weight, dtype: torch.dtype) -> torch.dtype:
        """What ``from_pretrained(dtype=dtype)`` would load the weight as."""
        if self.name == "vae":
            return torch.float32  # as diffusers' Wan documentation asks
        if isinstance(self.network, WanTransformer3DModel):
            kept = set(self.network._keep_in_fp32_modules)
            return torch.float32 if kept & set(weight.stored.name.split(".")) else dtype
        return dtype  # transformers keeps the encoder's `wo` in float32 for float16 only


def open_part(path: Path, name: str) -> Part:
    """Build the network ``name`` of the folder ``path``, and match its parameters with the stored weights.

    Raises:
        FolderError: no network can be built from the config, or the files do not hold exactly its weights.
    """
    network = _build(path / name, name)
    stored = read_headers(path / name, STEMS[name])
    return Part(name=name, path=path / name, network=network, weights=_match(network, path / name, stored))


def read_weights(weights: Iterable[Weight], device: torch.device) -> Iterator[tuple[Weight, torch.Tensor]]:
    """Each weight with its values, one after the other; float8 ones are multiplied out, to float32.

    Values lie in the mapped file or on ``device``; copy what is to stay.

    Raises:
        FolderError: a file has changed since its header was read.
    """
    for file, of_file in groupby(weights, key=lambda weight: weight.stored.file):
        try:
            with safe_open(file, framework="pt") as opened:
                for weight in of_file:
                    values = opened.get_tensor(weight.stored.name)
                    if weight.scale is not None:
                        scale = opened.get_tensor(weight.scale.name).to(device)
                        values = values.to(device).float() * scale.unsqueeze(1)
                    yield weight, values
        except (SafetensorError, OSError) as error:
            raise FolderError(f"{file} cannot be read ({error}): {AGAIN}") from error


def fill(part: Part, device: torch.device, dtype: torch.dtype, on_progress: OnProgress) -> Any:
    """Read the weights of ``part`` into its network, once, and move it to ``device``: in eval mode, frozen.

    Raises:
        FolderError: a file has changed since its header was read.
    """
    done = 0
    for weight, values in read_weights(part.weights, device):
        copy = torch.empty(values.shape, dtype=part.dtype_of(weight, dtype), device=device).copy_(values)
        parameter = nn.Parameter(copy, requires_grad=False)
        for name in weight.names:
            owner, _, leaf = name.rpartition(".")
            setattr(part.network.get_submodule(owner), leaf, parameter)
        done += weight.bytes
        on_progress(part.name, done, part.bytes)
    return part.network.eval().to(device)


def _build(path: Path, name: str) -> Any:
    config = read_json(path / "config.json")
    try:
        with init_empty_weights():  # parameters only: tables that are computed, and not stored, are real
            if name == "text_encoder":
                network = UMT5EncoderModel(UMT5Config.from_dict(config))
            elif name == "vae":
                network = AutoencoderKLWan.from_config(config)
            else:
                network = WanTransformer3DModel.from_config(config)
    # A config is data of any shape to code that does not check it.
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise FolderError(f"{path / 'config.json'} describes no network ({error}): {AGAIN}") from error
    if name == "text_encoder":
        network.tie_weights()  # what ties them while the network is built is undone by building it empty
    return network


def _match(network: Any, path: Path, stored: Mapping[str, Stored]) -> tuple[Weight, ...]:
    expected = _parameters(network)
    missing = [names[0] for names in expected if not any(name in stored for name in names)]
    if missing:
        raise FolderError(f"{path} lacks {len(missing)} of its weights, such as {missing[0]}: {AGAIN}")
    weights = []
    for names, parameter in expected.items():
        # Where a tied weight is stored twice, the last name is the one that the network computes with.
        tensor = [stored[name] for name in names if name in stored][-1]
        _check_shape(tensor, tuple(parameter.shape))
        weights.append(Weight(names=names, stored=tensor, scale=_scale_of(tensor, stored)))
    _refuse_unexpected(network, path, stored, weights)
    order = {name: place for place, name in enumerate(stored)}
    return tuple(sorted(weights, key=lambda weight: order[weight.stored.name]))


def _parameters(network: Any) -> dict[tuple[str, ...], torch.Tensor]:
    """The parameters of ``network``, each under all its names."""
    names: dict[int, list[str]] = {}
    tensors = network.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    return {tuple(of_one): tensors[of_one[0]] for of_one in names.values()}


def _check_shape(stored: Stored, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise FolderError(
            f"{stored.file} holds {stored.name} as {list(stored.shape)}, and config.json says {list(shape)}: "
            + AGAIN
        )


def _scale_of(weight: Stored, stored: Mapping[str, Stored]) -> Stored | None:
    if weight.dtype != FLOAT8:
        return None
    scale = stored.get(weight.name + SCALE)
    if scale is None or scale.file != weight.file or scale.shape != weight.shape[:1] or scale.dtype != "F32":
        raise FolderError(
            f"{weight.file} holds {weight.name} as float8 without a scale for each row: "
            "give a folder that `reelgate wan repack` wrote, or one that is not quantised"
        )
    return scale


def _refuse_unexpected(
    network: Any, path: Path, stored: Mapping[str, Stored], weights: Iterable[Weight]
) -> None:
    known = {name for weight in weights for name in weight.names}
    known |= {weight.scale.name for weight in weights if weight.scale}
    ignored = getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()
    unexpected = [
        name for name in stored if name not in known and not any(re.search(one, name) for one in ignored)
    ]
    if unexpected:
        raise FolderError(
            f"{path} holds weights that its config.json has no place for, such as {unexpected[0]} "
            f"({len(unexpected)} in all): {AGAIN}"
        )
