"""The files of a model folder: which there are, and that none of them is dangerous to open."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.wan_local.engine.errors import FolderError

AGAIN = "download the folder again"
INDEX = "model_index.json"
PARTS = ("scheduler", "tokenizer", "text_encoder", "vae", "transformer", "transformer_2")
OURS = "reelgate-"
"""What the names of files begin with that we write beside a model's own."""

# Formats that run code when loaded, and code itself.
_UNSAFE = (
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz"),
    *(".py", ".pyc", ".pyd", ".so", ".dll", ".sh"),
)
_READ = (".json", ".safetensors", ".txt", ".model")
_MOST_BYTES = 64 * 2**20
"""Of a file that is read whole: the largest real one, umt5's tokenizer, has 17 MB."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into; at the end it becomes ``path``, so that this appears complete or not at all.

    Raises:
        FileExistsError: ``path`` has something in it, or is the current folder.
        OSError: it cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} already exists: give a new folder, or remove this one first")
    if path.resolve() == Path.cwd():
        raise FileExistsError(f"{path} is the current folder: give a new one")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def list_files(path: Path) -> dict[str, int]:
    """The model's files by name relative to ``path``, with their bytes: the index and what the parts hold.

    Hidden files and our own are not the model's. All of ``path`` is looked at for what must not be there.

    Raises:
        FolderError: a file can run code, is no regular file, is too large to read whole, or is a link that
            leaves the folder.
    """
    homes = _homes(path)
    found = {}
    for here, below, names in os.walk(path, onerror=_refuse_unreadable):
        for name in below:
            _refuse_linked_folder(Path(here) / name)
        for name in names:
            file = Path(here) / name
            _refuse_unsafe(file, homes)
            relative = file.relative_to(path).as_posix()
            if _is_the_models(relative):
                _refuse_strange(file)
                found[relative] = _bytes_of(file)
    return dict(sorted(found.items()))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        FolderError: missing, too large, or no JSON object.
    """
    if not path.is_file():
        raise FolderError(f"{path} is missing: give a folder in diffusers format, or {AGAIN}")
    _bytes_of(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path} cannot be read ({error}): {AGAIN}") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path} is not a JSON object: {AGAIN}")
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all.

    Raises:
        OSError: it cannot be written.
    """
    handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _homes(path: Path) -> list[Path]:
    """Where links of this folder may lead: into itself, and from a hub cache's snapshot to its blobs."""
    root = Path(os.path.realpath(path))
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        return [root, root.parent.parent / "blobs"]
    return [root]


def _refuse_unreadable(error: OSError) -> None:
    raise FolderError(f"{error.filename} cannot be read ({error.strerror}): let this process read it")


def _refuse_linked_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise FolderError(f"{folder} is a link to a folder: put the folder itself there")


def _refuse_unsafe(file: Path, homes: list[Path]) -> None:
    if file.name.lower().endswith(_UNSAFE):
        raise FolderError(f"{file} can run code when loaded: remove it; only safetensors are read")
    if file.is_symlink():
        target = Path(os.path.realpath(file))
        if not any(target.is_relative_to(home) for home in homes):
            raise FolderError(f"{file} is a link out of the folder, to {target}: put the file itself there")
        if not target.exists():
            raise FolderError(f"{file} is a link to {target}, which is missing: {AGAIN}")
    if not file.is_file():
        raise FolderError(f"{file} is not a regular file: remove it, or {AGAIN}")


def _refuse_strange(file: Path) -> None:
    if not file.name.lower().endswith(_READ):
        raise FolderError(f"{file} is no file of a model: remove it; {', '.join(_READ)} are read")


def _is_the_models(relative: str) -> bool:
    part, *rest = relative.split("/")
    if not rest:
        return relative == INDEX
    return part in PARTS and not any(name.startswith((".", OURS)) for name in rest)


def _bytes_of(file: Path) -> int:
    size = file.stat().st_size
    if size > _MOST_BYTES and file.suffix != ".safetensors":
        raise FolderError(f"{file} has {size} bytes, and no file of this kind is so large: {AGAIN}")
    return size
