"""What a network's safetensors files hold, from their headers: names, shapes and types, no weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.files import AGAIN, read_json

_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8}
FLOAT8 = "F8_E4M3"
SCALE = ".scale"
"""A float8 weight's scale, float32 [rows], lies in the same file under the weight's name and this."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One tensor in a file. ``dtype`` is in safetensors' words."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return math.prod(self.shape) * _BITS[self.dtype] // 8


def read_headers(part: Path, stem: str) -> dict[str, Stored]:
    """Every tensor of the folder ``part`` by name, in the order in which they lie in its files.

    Args:
        part: a network's folder.
        stem: what its files are called: ``stem.safetensors``, or the shards that
            ``stem.safetensors.index.json`` names.

    Raises:
        FolderError: a file is missing, damaged or not what the index says, or holds what are no weights.
    """
    index = part / f"{stem}.safetensors.index.json"
    places = _weight_map(index) if index.exists() else {}
    stored: dict[str, Stored] = {}
    for file in sorted(set(places.values())) or [f"{stem}.safetensors"]:
        for tensor in _read_header(part / file):
            if tensor.name in stored:
                raise FolderError(
                    f"{part / file} and {stored[tensor.name].file} both hold {tensor.name}: {AGAIN}"
                )
            stored[tensor.name] = tensor
    for name, file in places.items():
        if name not in stored or stored[name].file.name != file:
            raise FolderError(f"{index} says that {file} holds {name}, and it does not: {AGAIN}")
    return stored


def _weight_map(index: Path) -> dict[str, str]:
    places = read_json(index).get("weight_map")
    usable = isinstance(places, dict) and all(_is_name(file) for file in places.values())
    if not places or not usable:
        raise FolderError(f"{index} has no usable weight_map: {AGAIN}")
    return dict(places)


def _is_name(file: object) -> bool:
    """True for a plain, visible file name, which the listing of the folder has seen."""
    return (
        isinstance(file, str)
        and Path(file).name == file
        and file.endswith(".safetensors")
        and not file.startswith(".")
    )


def _read_header(file: Path) -> list[Stored]:
    if not file.is_file():
        raise FolderError(f"{file} is missing: {AGAIN}")
    found = []
    try:
        # Opening compares the header with the file's length, so a download that stopped half-way is caught.
        with safe_open(file, framework="pt") as opened:
            for name in opened.offset_keys():
                tensor = opened.get_slice(name)
                found.append(
                    Stored(file=file, name=name, shape=tuple(tensor.get_shape()), dtype=tensor.get_dtype())
                )
    except (SafetensorError, OSError) as error:
        raise FolderError(f"{file} is damaged ({error}): {AGAIN}") from error
    for tensor in found:
        if tensor.dtype not in _BITS:
            raise FolderError(
                f"{file} holds {tensor.name} as {tensor.dtype}, and only {', '.join(_BITS)} are read: "
                "give a folder that is not quantised"
            )
    return found
