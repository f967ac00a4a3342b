"""A folder is pinned when it is first loaded, and a change to it does not go unseen."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.wan_local.engine import FolderError, WanEngine, files, manifest
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.manifest import MANIFEST, read_manifest, verify
from adapters.wan_local.tiny import Variant

Tiny = Callable[[Variant], Path]
REMEDY = f"download the folder again, or delete {MANIFEST} if you made the change"


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("t2v"), tmp_path / "m", ignore=shutil.ignore_patterns("reelgate-*")))


@pytest.fixture
def pinned(copy: Path) -> Path:
    """A folder that was loaded once."""
    WanEngine.load(copy)
    return copy


def refusal(folder: Path) -> str:
    with pytest.raises(FolderError) as caught:
        WanEngine.load(folder)
    return str(caught.value).replace(str(folder), "DIR")


def test_the_first_load_writes_every_file_with_its_sum(copy: Path) -> None:
    assert not (copy / MANIFEST).exists()
    model = WanEngine.load(copy).model
    files = json.loads((copy / MANIFEST).read_text())["files"]
    on_disk = sorted(
        path.relative_to(copy).as_posix()
        for path in copy.rglob("*")
        if path.is_file() and path.name != MANIFEST
    )
    assert list(files) == on_disk
    lines = ""
    for name in on_disk:
        data = (copy / name).read_bytes()
        assert files[name] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        lines += f"{files[name]['sha256']}  {len(data)}  {name}\n"
    assert model.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert not list(copy.glob(".reelgate-*"))


def test_later_loads_leave_the_manifest_and_give_the_same_digest(pinned: Path) -> None:
    before = (pinned / MANIFEST).stat()
    first, second = (WanEngine.load(pinned).model.digest for _ in range(2))
    assert first == second
    after = (pinned / MANIFEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_digest_is_the_files_and_not_the_place(pinned: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(pinned, tmp_path / "elsewhere"))
    assert WanEngine.load(moved).model.digest == WanEngine.load(pinned).model.digest
    (moved / MANIFEST).unlink()
    config = moved / "vae" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert WanEngine.load(moved).model.digest != WanEngine.load(pinned).model.digest


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json",
        "text_encoder/model.safetensors",
        "transformer_2/diffusion_pytorch_model.safetensors",
    ],
)
def test_one_changed_byte_is_seen(file: str, pinned: Path) -> None:
    data = (pinned / file).read_bytes()
    if file.endswith(".safetensors"):
        data = data[:-1] + bytes([data[-1] ^ 1])
    else:
        data = data.replace(b"\n", b" ", 1)
    (pinned / file).write_bytes(data)
    message = refusal(pinned)
    assert message.startswith(f"DIR/{file} has the SHA-256 {hashlib.sha256(data).hexdigest()[:12]}…, and ")
    assert message.endswith(REMEDY)


def test_a_changed_size_is_seen_before_anything_is_hashed(
    pinned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pinned / "vae" / "config.json"
    size = config.stat().st_size
    config.write_text(config.read_text() + " ")
    monkeypatch.setattr(manifest, "_hash_files", lambda *_: pytest.fail("the files are being hashed"))
    expected = f"DIR/vae/config.json has {size + 1} bytes, and {MANIFEST} says {size}: {REMEDY}"
    assert refusal(pinned) == expected


def test_an_added_file_is_seen(pinned: Path) -> None:
    (pinned / "tokenizer" / "added_tokens.json").write_text("{}")
    expected = f"DIR/tokenizer/added_tokens.json is not in {MANIFEST}: remove it, {REMEDY}"
    assert refusal(pinned) == expected


def test_a_removed_file_is_seen(copy: Path) -> None:
    (copy / "tokenizer" / "special_tokens_map.json").write_text("{}")
    WanEngine.load(copy)
    (copy / "tokenizer" / "special_tokens_map.json").unlink()
    expected = f"DIR/tokenizer/special_tokens_map.json is missing, and {MANIFEST} lists it: {REMEDY}"
    assert refusal(copy) == expected


@pytest.mark.parametrize("content", ["{}", '{"files": {"a": 1}}', '{"files": {"a": {"bytes": "x"}}}', "{"])
def test_a_damaged_manifest_is_refused(content: str, pinned: Path) -> None:
    (pinned / MANIFEST).write_text(content)
    assert refusal(pinned).startswith(f"DIR/{MANIFEST} ")


def test_a_deleted_manifest_pins_anew(pinned: Path) -> None:
    (pinned / "vae" / "config.json").write_text((pinned / "vae" / "config.json").read_text() + " ")
    (pinned / MANIFEST).unlink()
    WanEngine.load(pinned)
    assert read_manifest(open_folder(pinned)) == verify(open_folder(pinned))


def test_a_folder_that_cannot_be_written_loads_with_a_warning(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "mkstemp", read_only)
    model = WanEngine.load(copy).model
    assert "cannot be written (Read-only file system): a change to the folder will go unseen" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING
    assert not (copy / MANIFEST).exists()
    monkeypatch.undo()
    assert WanEngine.load(copy).model.digest == model.digest


def test_a_failed_write_leaves_nothing(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(manifest.os, "replace", full)
    before = sorted(copy.rglob("*"))
    WanEngine.load(copy)
    assert sorted(copy.rglob("*")) == before
