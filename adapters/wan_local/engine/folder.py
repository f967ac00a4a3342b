"""A diffusers Wan folder on disk: where it is, whether it is whole and safe, and which model it holds.

Everything here reads names, JSON and safetensors headers only, so a bad folder is refused in milliseconds
and before 57 GB are read.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.official import Family

# Formats that run code when loaded, and code itself.
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".py")
_DOWNLOADED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
_CLASSES = {
    "text_encoder": "UMT5EncoderModel",
    "vae": "AutoencoderKLWan",
    "transformer": "WanTransformer3DModel",
    "transformer_2": "WanTransformer3DModel",
}
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_AGAIN = "download the folder again"


@dataclass(frozen=True, kw_only=True)
class WanFolder:
    """A checked folder. ``boundary`` is None with one expert; otherwise ``transformer_2`` exists."""

    path: Path
    family: Family
    boundary: float | None


def open_folder(source: str | Path, revision: str | None) -> WanFolder:
    """Find ``source`` and check it.

    Args:
        source: a folder, or a Hugging Face hub id such as ``Wan-AI/Wan2.2-T2V-A14B-Diffusers``.
        revision: for a hub id, the full commit hash. A branch or tag can change under a running gateway.

    Raises:
        FolderError: naming the file and what to do about it.
    """
    path = _locate(source, revision)
    index = _read_json(path / "model_index.json")
    _refuse_unsafe(path)
    if index.get("_class_name") not in _PIPELINES:
        raise FolderError(
            f"{path / 'model_index.json'} is for {index.get('_class_name')}, not {' or '.join(_PIPELINES)}: "
            "give a Wan 2.2 folder in diffusers format"
        )
    boundary = index.get("boundary_ratio")
    _check_parts(path, index, second_expert=boundary is not None)
    return WanFolder(path=path, family=_family(path, index), boundary=boundary)


def _locate(source: str | Path, revision: str | None) -> Path:
    path = Path(source)
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(str(source)):
        raise FolderError(f"{path}: no such folder; give the folder that holds model_index.json")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise FolderError(
            f"{source}: no such folder here, and as a hub id it needs revision= with the full commit hash, "
            f"40 digits, not {revision!r}"
        )
    try:
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=_DOWNLOADED))
    except (OSError, ValueError) as error:
        raise FolderError(f"{source}@{revision} could not be downloaded: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{path} is missing: give a folder in diffusers format, or {_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise FolderError(f"{path} cannot be read ({error}): {_AGAIN}") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path} is not a JSON object: {_AGAIN}")
    return content


def _refuse_unsafe(path: Path) -> None:
    seen: set[str] = set()
    for here, below, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(here))
        below[:] = [name for name in below if os.path.realpath(os.path.join(here, name)) not in seen]
        for name in names:
            if name.lower().endswith(_UNSAFE):
                raise FolderError(
                    f"{Path(here) / name} can run code when loaded: remove it; only safetensors are read"
                )


def _check_parts(path: Path, index: dict[str, Any], *, second_expert: bool) -> None:
    for part, expected in _CLASSES.items():
        if part == "transformer_2" and not second_expert:
            continue
        declared = index.get(part) or [None, None]
        if declared[1] != expected:
            raise FolderError(
                f"{path / 'model_index.json'} gives {declared[1]} as {part}, not {expected}: "
                "give a Wan 2.2 folder in diffusers format"
            )
        _read_json(path / part / "config.json")
        _check_weights(path / part, "model" if part == "text_encoder" else "diffusion_pytorch_model")
    _read_json(path / "scheduler" / "scheduler_config.json")
    _read_json(path / "tokenizer" / "tokenizer_config.json")


def _check_weights(part: Path, stem: str) -> None:
    index = part / f"{stem}.safetensors.index.json"
    files = {f"{stem}.safetensors"}
    if index.exists():
        files = set(_read_json(index).get("weight_map", {}).values())
        if not files or any(Path(file).name != file for file in files):
            raise FolderError(f"{index} has no usable weight_map: {_AGAIN}")
    for file in sorted(files):
        _check_safetensors(part / file)


def _check_safetensors(path: Path) -> None:
    if not path.is_file():
        raise FolderError(f"{path} is missing: {_AGAIN}")
    try:
        # Opening compares the header with the file's length, so a download that stopped half-way is caught.
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise FolderError(f"{path} is damaged ({error}): {_AGAIN}") from error


def _family(path: Path, index: dict[str, Any]) -> Family:
    config = _read_json(path / "transformer" / "config.json")
    if config.get("image_dim") is not None:
        raise FolderError(
            f"{path / 'transformer'} needs a CLIP image encoder (Wan 2.1): give a Wan 2.2 folder"
        )
    if index.get("expand_timesteps"):
        return "ti2v"
    return "t2v" if config.get("in_channels") == config.get("out_channels") else "i2v"
