"""A model's whole folder out of the stored parts: by copy, checked byte for byte, all or nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.wan_local.engine import FolderError
from adapters.wan_local.engine.files import new_folder
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.manifest import MANIFEST, Sum, digest_of, read_sums, verify
from adapters.wan_local.nano.family import CARD, WEIGHTS, stored_at
from adapters.wan_local.tiny import Variant


def assemble(variant: Variant, root: Path, weights: Path = WEIGHTS) -> Path:
    """The model's folder below ``root``, built if it is not there, and anew if a byte of it is wrong.

    Its name has the digest of its files, so that two versions of the family lie side by side. Processes that
    ask at once wait for the first.

    Raises:
        FolderError: the stored parts are not what their manifest says.
        OSError: the folder cannot be written.
    """
    sums = _listed(variant, weights)
    digest = digest_of(sums)
    folder = root / f"{variant}-{digest[:12]}"
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / ".lock"):
        if not _is_whole(folder, digest):
            _clear(root, folder)
            _build(folder, variant, sums, weights)
    return folder


def copy_to(folder: Path, variant: Variant, weights: Path = WEIGHTS) -> None:
    """Write the model's folder to ``folder``, which must not exist or be empty.

    Raises:
        FileExistsError: there is something in it.
        FolderError, OSError: as :func:`assemble`.
    """
    _build(folder, variant, _listed(variant, weights), weights)


def _listed(variant: Variant, weights: Path) -> dict[str, Sum]:
    with _blaming(weights):
        return read_sums(stored_at(weights, variant, MANIFEST))


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return digest_of(verify(open_folder(folder))) == digest
    except FolderError:
        return False


def _build(folder: Path, variant: Variant, sums: dict[str, Sum], weights: Path) -> None:
    with new_folder(folder) as unfinished, _blaming(weights):
        for name in (*sums, MANIFEST):
            (unfinished / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(stored_at(weights, variant, name), unfinished / name)
        shutil.copyfile(weights / CARD, unfinished / CARD)
        verify(open_folder(unfinished))


@contextmanager
def _blaming(weights: Path) -> Iterator[None]:
    """What is missing or wrong in a copy is so in what was copied, and has another remedy."""
    try:
        yield
    except (FolderError, FileNotFoundError) as error:
        raise FolderError(
            f"the nano models in {weights} are incomplete or damaged: install Reelgate again"
        ) from error


def _clear(root: Path, damaged: Path) -> None:
    """Take a damaged folder away, and what those left unfinished that were killed.

    At once: who has its files open reads on, nobody finds half a folder.
    """
    if damaged.exists():
        os.replace(damaged, Path(tempfile.mkdtemp(prefix=".damaged-", dir=root)) / damaged.name)
    for left in root.glob(".*-*"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One at a time, whichever process or thread."""
    with open(lock, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
