"""``reelgate-manifest.json``: what a folder's files were when first loaded, so that no change goes unseen."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from adapters.wan_local.engine.errors import FolderError
from adapters.wan_local.engine.files import AGAIN, read_json, write_whole
from adapters.wan_local.engine.folder import WanFolder
from adapters.wan_local.engine.progress import OnProgress, unheard

MANIFEST = "reelgate-manifest.json"
_REMEDY = f"{AGAIN}, or delete {MANIFEST} if you made the change"
_CHUNK = 4 * 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sum:
    """One file's content."""

    sha256: str
    bytes: int


def read_manifest(folder: WanFolder) -> dict[str, Sum] | None:
    """The folder's manifest, or None if it has none; files' names and sizes are compared with it.

    Raises:
        FolderError: the manifest is damaged, or a file was added, removed or has another size.
    """
    path = folder.path / MANIFEST
    if not path.exists():
        return None
    sums = read_sums(path)
    for name in sorted({*sums, *folder.files}):
        if name not in folder.files:
            raise FolderError(f"{folder.path / name} is missing, and {MANIFEST} lists it: {_REMEDY}")
        if name not in sums:
            raise FolderError(f"{folder.path / name} is not in {MANIFEST}: remove it, {_REMEDY}")
        if folder.files[name] != sums[name].bytes:
            raise FolderError(
                f"{folder.path / name} has {folder.files[name]} bytes, and {MANIFEST} says "
                f"{sums[name].bytes}: {_REMEDY}"
            )
    return sums


def read_sums(path: Path) -> dict[str, Sum]:
    """What a manifest lists, by name relative to its folder.

    Raises:
        FolderError: it is missing or damaged.
    """
    try:
        listed = read_json(path)["files"].items()
        return {name: Sum(str(one["sha256"]), int(one["bytes"])) for name, one in listed}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path} is damaged: {_REMEDY}") from error


def verify(folder: WanFolder, on_progress: OnProgress = unheard) -> dict[str, Sum]:
    """Hash every file of the model, and compare with the manifest if there is one.

    Raises:
        FolderError: a file is not what the manifest says, or cannot be read.
    """
    listed = read_manifest(folder)
    sums = _hash_files(folder, on_progress)
    for name, one in (listed or {}).items():
        if sums[name] != one:
            raise FolderError(
                f"{folder.path / name} has the SHA-256 {sums[name].sha256[:12]}…, and {MANIFEST} says "
                f"{one.sha256[:12]}…: {_REMEDY}"
            )
    return sums


def pin(folder: WanFolder, on_progress: OnProgress = unheard) -> str:
    """:func:`verify`, and write the manifest if there is none. Returns the folder's digest, 64 hex digits.

    A folder that cannot be written to is used all the same; a warning says that nothing is pinned.

    Raises:
        FolderError: as :func:`verify`.
    """
    sums = verify(folder, on_progress)
    if not (folder.path / MANIFEST).exists():
        try:
            _write(folder.path / MANIFEST, sums)
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): a change to the folder will go unseen",
                folder.path / MANIFEST,
                error.strerror,
            )
    return digest_of(sums)


def digest_of(sums: Mapping[str, Sum]) -> str:
    """One sum over all: SHA-256 of the lines ``<sha256>  <bytes>  <name>``, by name, each ended by LF."""
    lines = [f"{one.sha256}  {one.bytes}  {name}\n" for name, one in sorted(sums.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write(path: Path, sums: Mapping[str, Sum]) -> None:
    files = {name: {"sha256": one.sha256, "bytes": one.bytes} for name, one in sorted(sums.items())}
    write_whole(path, (json.dumps({"files": files}, indent=2) + "\n").encode())


def _hash_files(folder: WanFolder, on_progress: OnProgress) -> dict[str, Sum]:
    """Hash all files, the largest first, on a thread per CPU: hashlib lets go of the interpreter's lock."""
    total = sum(folder.files.values())
    names = sorted(folder.files, key=lambda name: folder.files[name], reverse=True)
    done = dict.fromkeys(names, 0)
    stopped = Event()

    def hash_one(name: str) -> Sum:
        sha256 = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        with open(folder.path / name, "rb", buffering=0) as file:
            while (read := file.readinto(buffer)) and not stopped.is_set():
                sha256.update(buffer[:read])
                done[name] += read
        return Sum(sha256.hexdigest(), done[name])

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            futures = {name: pool.submit(hash_one, name) for name in names}
            for one in as_completed(futures.values()):
                one.result()
                on_progress("hash", sum(done.values()), total)
            return {name: futures[name].result() for name in sorted(names)}
        except OSError as error:
            raise FolderError(f"{error.filename} cannot be read ({error.strerror}): {AGAIN}") from error
        finally:
            stopped.set()
