"""A diffusers Wan folder on disk: whether it is whole and safe, and which model it holds.

Everything here reads names and JSON only; :mod:`blueprint` then reads the headers of the weights. So a bad
folder is refused in seconds, before 57 GB are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.files import AGAIN, INDEX, list_files, read_json
from adapters.wan_local.engine.hub import locate
from adapters.wan_local.engine.official import Family

_PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
_CLASSES = {
    "text_encoder": "UMT5EncoderModel",
    "vae": "AutoencoderKLWan",
    "transformer": "WanTransformer3DModel",
    "transformer_2": "WanTransformer3DModel",
}


@dataclass(frozen=True, kw_only=True)
class WanFolder:
    """A folder whose names and JSON are in order.

    Attributes:
        path: the folder.
        family: of the model in it.
        boundary: None with one expert; otherwise ``transformer_2`` exists.
        files: the model's files by name relative to ``path``, sorted, with their bytes.
    """

    path: Path
    family: Family
    boundary: float | None
    files: Mapping[str, int]

    @property
    def networks(self) -> tuple[str, ...]:
        """The parts that hold weights."""
        return tuple(part for part in _CLASSES if part != "transformer_2" or self.boundary is not None)


def open_folder(source: str | Path, revision: str | None = None) -> WanFolder:
    """Find ``source`` and check it.

    Args:
        source: a folder, or a Hugging Face hub id such as ``Wan-AI/Wan2.2-T2V-A14B-Diffusers``.
        revision: for a hub id, the full commit hash.

    Raises:
        FolderError: naming the file and what to do about it.
    """
    path = locate(source, revision)
    index = read_json(path / INDEX)
    files = list_files(path)
    if index.get("_class_name") not in _PIPELINES:
        raise FolderError(
            f"{path / INDEX} is for {index.get('_class_name')}, not {' or '.join(_PIPELINES)}: "
            "give a Wan 2.2 folder in diffusers format"
        )
    boundary = _boundary(path, index)
    family = _family(path, index)
    folder = WanFolder(path=path, family=family, boundary=boundary, files=files)
    for part in folder.networks:
        _check_class(path, index, part)
    read_json(path / "scheduler" / "scheduler_config.json")
    read_json(path / "tokenizer" / "tokenizer_config.json")
    return folder


def _boundary(path: Path, index: dict[str, Any]) -> float | None:
    boundary = index.get("boundary_ratio")
    if boundary is None:
        if _declared(index, "transformer_2") is not None:
            raise FolderError(f"{path / INDEX} names a transformer_2 and no boundary_ratio: {AGAIN}")
        return None
    if not isinstance(boundary, float) or not 0 < boundary < 1:
        raise FolderError(
            f"{path / INDEX} gives {boundary!r} as boundary_ratio, not a number between 0 and 1: {AGAIN}"
        )
    return boundary


def _declared(index: dict[str, Any], part: str) -> Any:
    """The class that the index gives for ``part``, or None."""
    declared = index.get(part)
    return declared[1] if isinstance(declared, list) and len(declared) == 2 else None


def _check_class(path: Path, index: dict[str, Any], part: str) -> None:
    expected = _CLASSES[part]
    config = read_json(path / part / "config.json")
    own = config.get("_class_name", config.get("architectures"))  # diffusers', transformers'
    for file, given in ((path / INDEX, _declared(index, part)), (path / part / "config.json", own)):
        if given not in (expected, [expected]):
            raise FolderError(
                f"{file} gives {given} as {part}, not {expected}: give a Wan 2.2 folder in diffusers format"
            )


def _family(path: Path, index: dict[str, Any]) -> Family:
    config = read_json(path / "transformer" / "config.json")
    if config.get("image_dim") is not None:
        raise FolderError(
            f"{path / 'transformer'} needs a CLIP image encoder (Wan 2.1): give a Wan 2.2 folder"
        )
    if index.get("expand_timesteps"):
        return "ti2v"
    return "t2v" if config.get("in_channels") == config.get("out_channels") else "i2v"
