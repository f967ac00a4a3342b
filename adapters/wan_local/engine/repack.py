"""Writing a folder anew in fewer bytes: a faster start, and the same model.

The published folders are float32: an A14B model's transformers, 57 GB at work, are 114 GB on the disk.
``bf16`` stores each weight as loading with dtype bfloat16 would hold it. So what diffusers keeps in float32
for accuracy (modulation, some norms, the time embedding: under 1% of the bytes) stays float32, and loading
the copy gives the same bits.

``fp8`` stores the linear layers inside the blocks of transformers and text encoder as float8_e4m3fn, and
the rest as ``bf16`` does. Each row has a float32 scale: its largest weight over 448, the largest value of
the type. Cast as they are, weights under 2^-10 would become zero. Loading multiplies out into the compute
type, so float8 saves disk and reading, not memory. Other loaders do not know the scales.

The VAE is float32 in both: it is small, and always computes in float32.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from torch import nn

from adapters.wan_local.engine.blueprint import Blueprint, read_blueprint
from adapters.wan_local.engine.files import INDEX, new_folder
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.headers import SCALE
from adapters.wan_local.engine.manifest import pin, verify
from adapters.wan_local.engine.progress import OnProgress, unheard
from adapters.wan_local.engine.weights import STEMS, Part, Weight, read_weights

Packing = Literal["bf16", "fp8"]

_SHARD_BYTES = 4 * 2**30
_IN_BLOCKS = re.compile(r"(blocks|encoder\.block)\.\d+\.")
_CPU = torch.device("cpu")
_LARGEST = torch.finfo(torch.float8_e4m3fn).max
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3"}


def repack(source: Path, target: Path, dtype: Packing, on_progress: OnProgress = unheard) -> str:
    """Write the Wan folder ``source`` to ``target`` with smaller weights, and pin it. Returns its digest.

    The folder appears complete or not at all: it is built beside its destination and renamed. Weights are
    converted one by one, so memory is that of the largest.

    Args:
        source: a folder in diffusers format; float32, bfloat16 or a repacked one.
        target: where to write; its parent is created. It must not exist, or be an empty folder.
        dtype: of the transformers' and the text encoder's weights.
        on_progress: hears the hashing of both folders, and for each part the bytes written.

    Raises:
        FolderError: the source is missing, damaged, unsafe, or has changed since it was pinned.
        FileExistsError: ``target`` already has something in it.
        OSError: the disk is too small, or cannot be written.
    """
    blueprint = read_blueprint(open_folder(source))
    layouts = {name: _lay_out(part, dtype) for name, part in blueprint.parts.items()}
    with new_folder(target) as unfinished:
        _check_space(unfinished, sum(one.bytes for layout in layouts.values() for one in layout))
        verify(blueprint.folder, on_progress)
        for name, part in blueprint.parts.items():
            _write_part(unfinished / name, part, layouts[name], on_progress)
        _copy_rest(blueprint, unfinished)
        written = open_folder(unfinished)
        read_blueprint(written)
        return pin(written, on_progress)


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """A tensor to be written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A weight of the source, and the tensors that it becomes: itself, and its scale if it has one."""

    weight: Weight
    tensors: tuple[_Tensor, ...]

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)


def _lay_out(part: Part, dtype: Packing) -> list[_Planned]:
    planned = []
    for weight in part.weights:
        name, shape = weight.stored.name, weight.stored.shape
        tensors: tuple[_Tensor, ...]
        if dtype == "fp8" and _takes_float8(part, name):
            tensors = (
                _Tensor(name=name, shape=shape, dtype=torch.float8_e4m3fn),
                _Tensor(name=name + SCALE, shape=shape[:1], dtype=torch.float32),
            )
        else:
            tensors = (_Tensor(name=name, shape=shape, dtype=part.dtype_of(weight, torch.bfloat16)),)
        planned.append(_Planned(weight=weight, tensors=tensors))
    return planned


def _takes_float8(part: Part, name: str) -> bool:
    owner, _, leaf = name.rpartition(".")
    linear = leaf == "weight" and isinstance(part.network.get_submodule(owner), nn.Linear)
    return linear and part.name != "vae" and _IN_BLOCKS.match(name) is not None


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed and {free} are free", str(folder))


def _write_part(folder: Path, part: Part, layout: list[_Planned], on_progress: OnProgress) -> None:
    folder.mkdir()
    shards = list(_shards(layout))
    stem = STEMS[part.name]
    places: dict[str, str] = {}
    done, total = 0, sum(planned.bytes for planned in layout)
    for number, shard in enumerate(shards, start=1):
        of = "" if len(shards) == 1 else f"-{number:05}-of-{len(shards):05}"
        file = folder / f"{stem}{of}.safetensors"
        for written in _write_shard(file, shard):
            done += written
            on_progress(part.name, done, total)
        places |= {tensor.name: file.name for planned in shard for tensor in planned.tensors}
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _shards(layout: Iterable[_Planned]) -> Iterator[list[_Planned]]:
    shard: list[_Planned] = []
    for planned in layout:
        if shard and sum(one.bytes for one in shard) + planned.bytes > _SHARD_BYTES:
            yield shard
            shard = []
        shard.append(planned)
    yield shard


def _write_shard(file: Path, shard: list[_Planned]) -> Iterator[int]:
    """Write one safetensors file, weight by weight; yields the bytes of each.

    The library's own writer wants all tensors of a file in memory. The format is a length, a JSON header
    padded to 8 bytes, and the tensors; the widest types come first, so that each is aligned.
    """
    tensors = [tensor for planned in shard for tensor in planned.tensors]
    tensors.sort(key=lambda tensor: tensor.dtype.itemsize, reverse=True)
    ends = list(accumulate(tensor.bytes for tensor in tensors))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for tensor, end in zip(tensors, ends, strict=True):
        header[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": [end - tensor.bytes, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    places = {tensor.name: begin + end - tensor.bytes for tensor, end in zip(tensors, ends, strict=True)}
    by_weight = {planned.weight.stored.name: planned for planned in shard}
    with open(file, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for weight, values in read_weights((planned.weight for planned in shard), _CPU):
            planned = by_weight[weight.stored.name]
            for tensor, content in zip(planned.tensors, _convert(planned, values), strict=True):
                _write_at(out, places[tensor.name], content)
            yield planned.bytes


def _convert(planned: _Planned, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    dtype = planned.tensors[0].dtype
    if dtype != torch.float8_e4m3fn:
        return (values.to(dtype),)
    values = values.float()
    # Rows of zeros, and of less than float32 can divide by, have the least scale there is.
    scale = (values.abs().amax(dim=1) / _LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (values / scale.unsqueeze(1)).to(dtype), scale


def _write_at(out: BinaryIO, place: int, tensor: torch.Tensor) -> None:
    out.seek(place)
    out.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _copy_rest(blueprint: Blueprint, target: Path) -> None:
    """Everything but the weights and their indexes; the folder's own last, for nothing loads without it."""
    for name in sorted(blueprint.folder.files, key=lambda name: name == INDEX):
        if not name.endswith((".safetensors", ".safetensors.index.json")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blueprint.folder.path / name, target / name)
