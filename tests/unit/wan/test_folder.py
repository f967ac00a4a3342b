"""What a folder is, and where one comes from. What makes one bad: test_bad_folders.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from huggingface_hub.errors import LocalEntryNotFoundError

from adapters.wan_local.engine import FolderError, WanEngine, WanJob, hub
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.manifest import MANIFEST
from adapters.wan_local.tiny import Variant

Tiny = Callable[[Variant], Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    """A T2V folder the test may damage."""
    return Path(shutil.copytree(tiny("t2v"), tmp_path / "model", ignore=shutil.ignore_patterns("reelgate-*")))


def refusal(source: Path | str, revision: str | None = None) -> str:
    with pytest.raises(FolderError) as caught:
        WanEngine.load(source, revision=revision)
    return str(caught.value)


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "vae/config.json",
        f"vae/{WEIGHTS}",
        "transformer/config.json",
        f"transformer/{WEIGHTS}",
        f"transformer_2/{WEIGHTS}",
    ],
)
def test_a_missing_file_is_named(file: str, copy: Path) -> None:
    (copy / file).unlink()
    assert refusal(copy).startswith(f"{copy / file} is missing")


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.ckpt", "x.pickle", "x.npy", "x.py", "x.so", "X.BIN"])
@pytest.mark.parametrize("where", [".", "transformer", "deep/down"])
def test_anything_that_can_run_code_is_refused(name: str, where: str, copy: Path) -> None:
    (copy / where).mkdir(parents=True, exist_ok=True)
    (copy / where / name).write_bytes(b"")
    message = refusal(copy)
    assert str(copy / where / name) in message
    assert "remove it" in message


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_json_that_is_not_an_object_is_refused(text: str, copy: Path) -> None:
    (copy / "model_index.json").write_bytes(text.encode("latin-1"))
    assert str(copy / "model_index.json") in refusal(copy)


def test_a_hub_cache_may_link_to_its_own_blobs_and_nowhere_else(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--An-Org--A-Model"
    snapshot = Path(shutil.move(copy, cache / "snapshots" / COMMIT))
    (cache / "blobs").mkdir()
    weights = snapshot / "vae" / WEIGHTS
    weights.rename(cache / "blobs" / "c0ffee")
    weights.symlink_to("../../../blobs/c0ffee")
    assert WanEngine.load(snapshot).model.path == snapshot
    (cache / "blobs" / "c0ffee").rename(cache / "c0ffee")
    weights.unlink()
    weights.symlink_to("../../../c0ffee")
    assert "is a link out of the folder" in refusal(snapshot)


def test_a_link_within_the_folder_is_followed(copy: Path) -> None:
    config = copy / "vae" / "config.json"
    config.rename(copy / "vae.json")
    config.symlink_to("../vae.json")
    assert "vae/config.json" in open_folder(copy).files


def test_hidden_files_notes_and_our_own_are_not_the_models(copy: Path) -> None:
    before = open_folder(copy).files
    for name in ("README.md", "vae/.DS_Store", "vae/reelgate-cache.safetensors", "reelgate-x.json"):
        (copy / name).write_text("")
    (copy / ".cache" / "vae").mkdir(parents=True)
    (copy / ".cache" / "vae" / "config.json").write_text("{}")
    assert open_folder(copy).files == before
    assert set(before) == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        f"transformer/{WEIGHTS}",
        "transformer_2/config.json",
        f"transformer_2/{WEIGHTS}",
        "vae/config.json",
        f"vae/{WEIGHTS}",
    }


def test_shards_are_read_through_their_index(copy: Path) -> None:
    job = WanJob(prompt="a cat", width=32, height=32, frames=5, steps=2)
    whole = WanEngine.load(copy).run(job).latents
    model = WanTransformer3DModel.from_pretrained(copy / "transformer")
    (copy / "transformer" / WEIGHTS).unlink()
    model.save_pretrained(copy / "transformer", max_shard_size="40KB")
    shards = sorted((copy / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    (copy / MANIFEST).unlink()
    assert torch.equal(WanEngine.load(copy).run(job).latents, whole)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_hub_id_needs_a_commit(revision: str | None) -> None:
    assert "full commit hash" in refusal("Wan-AI/Wan2.2-T2V-A14B-Diffusers", revision)


def test_a_hub_id_is_downloaded_at_its_commit_without_unsafe_files(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repo: str, *, revision: str, allow_patterns: list[str], local_dir: Path | None) -> str:
        asked.append((repo, revision, local_dir))
        assert not any(
            pattern.endswith(suffix) for pattern in allow_patterns for suffix in (".bin", ".py", "*")
        )
        return str(tiny("t2v"))

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert WanEngine.load("Wan-AI/Some", revision=COMMIT).model.family == "t2v"
    assert asked == [("Wan-AI/Some", COMMIT, None)]


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route\nto host"),
        RuntimeError("no route to host"),
        LocalEntryNotFoundError("no route to host\nAnd what might be done."),
    ],
)
def test_a_download_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert refusal("Wan-AI/Some", COMMIT) == (
        f"Wan-AI/Some@{COMMIT} could not be downloaded (no route to host): "
        "check the network, the id and the commit, and try again"
    )


@pytest.mark.parametrize(
    "argument",
    [{"dtype": "float16"}, {"policy": "offload"}, {"device": "gpu"}, {"device": "cuda"}],
    ids=lambda argument: "-".join(*argument.items()),
)
def test_unknown_ways_to_load_are_refused(argument: dict[str, Any], tiny: Tiny) -> None:
    if argument == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match=next(iter(argument.values()))):
        WanEngine.load(tiny("t2v"), **argument)


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_the_family_is_read_from_the_folder(
    variant: Variant, tiny: Tiny, engine: Callable[..., WanEngine]
) -> None:
    model = engine(variant).model
    index = json.loads((tiny(variant) / "model_index.json").read_text())
    assert model.family == variant
    assert model.boundary == index["boundary_ratio"]
    assert (model.transformer_2 is None) == (variant == "ti2v")
    assert (model.width_step, model.height_step, model.frame_step) == (
        (32, 32, 4) if variant == "ti2v" else (16, 16, 4)
    )
