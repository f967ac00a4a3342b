"""Finding a model folder: here, or on the Hugging Face hub at one commit."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from adapters.wan_local.engine.errors import FolderError

_DOWNLOADED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def locate(source: str | Path, revision: str | None) -> Path:
    """The folder ``source``, or a hub id's folder in the hub's cache, downloaded if it is not there.

    Raises:
        FolderError: neither a folder nor a hub id with its commit, or the download failed.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(str(source)):
        raise FolderError(f"{path}: no such folder; give the folder that holds model_index.json")
    return download(str(source), revision)


def download(repository: str, revision: str | None, into: Path | None = None) -> Path:
    """Download a repository's JSON, tokenizer and safetensors files, and nothing that can run code.

    Args:
        repository: a hub id.
        revision: the full commit hash. A branch or tag can change under a running gateway.
        into: write real files to this folder, not links into the hub's cache. What an earlier, broken-off
            download left there is kept and completed.

    Raises:
        FolderError: this is no hub id or no commit, or the download failed.
    """
    if not _HUB_ID.fullmatch(repository):
        raise FolderError(f"{repository} is no hub id, such as Wan-AI/Wan2.2-T2V-A14B-Diffusers")
    if revision is None or not _COMMIT.fullmatch(revision):
        raise FolderError(
            f"{repository} is not a folder here, and to download it from the hub takes a revision, the full "
            f"commit hash of 40 digits, not {revision!r}"
        )
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=_DOWNLOADED, local_dir=into)
        )
    except Exception as error:  # the client raises what its HTTP and transfer libraries raise
        raise FolderError(
            f"{repository}@{revision} could not be downloaded ({_reason(error)}): check the network, the id "
            "and the commit, and try again"
        ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, LocalEntryNotFoundError):
        text = text.partition("\n")[0]  # what the network said; guesses follow
    return " ".join(text.split()) or type(error).__name__
