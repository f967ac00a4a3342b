"""Folders that are refused, and what the refusal says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from adapters.wan_local.engine import FolderError, WanEngine, WanJob
from adapters.wan_local.engine import folder as folder_module
from adapters.wan_local.tiny import Variant

Tiny = Callable[[Variant], Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    """A T2V folder the test may damage."""
    return Path(shutil.copytree(tiny("t2v"), tmp_path / "model"))


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


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.pth", "x.ckpt", "x.pkl", "x.py", "X.BIN"])
@pytest.mark.parametrize("where", [".", "transformer", "deep/down"])
def test_anything_that_can_run_code_is_refused(name: str, where: str, copy: Path) -> None:
    (copy / where).mkdir(parents=True, exist_ok=True)
    (copy / where / name).write_bytes(b"")
    message = refusal(copy)
    assert str(copy / where / name) in message
    assert "remove it" in message


def test_unsafe_files_are_found_behind_links_too(copy: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(copy / "vae", elsewhere)
    (copy / "vae").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(copy)
    WanEngine.load(copy)
    (elsewhere / "model.pkl").write_bytes(b"")
    assert "model.pkl" in refusal(copy)


def test_half_a_download_is_refused(copy: Path) -> None:
    weights = copy / "transformer_2" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    message = refusal(copy)
    assert message.startswith(f"{weights} is damaged")
    assert "download" in message


def test_weights_that_are_not_safetensors_are_refused(copy: Path) -> None:
    (copy / "vae" / WEIGHTS).write_bytes(b"\x80\x04not safetensors at all")
    assert refusal(copy).startswith(f"{copy / 'vae' / WEIGHTS} is damaged")


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_json_that_is_not_an_object_is_refused(text: str, copy: Path) -> None:
    (copy / "model_index.json").write_bytes(text.encode("latin-1"))
    assert str(copy / "model_index.json") in refusal(copy)


def test_a_tokenizer_that_does_not_load_is_refused(copy: Path) -> None:
    (copy / "tokenizer" / "tokenizer.json").write_text("{}")
    assert str(copy / "tokenizer") in refusal(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "MochiPipeline"}, "MochiPipeline"),
        ({"transformer_2": [None, None]}, "transformer_2"),
        ({"vae": ["diffusers", "AutoencoderKL"]}, "AutoencoderKL "),
        ({"transformer": ["my_code", "Evil"]}, "Evil"),
    ],
)
def test_another_model_is_refused(change: dict[str, Any], message: str, copy: Path) -> None:
    edit(copy / "model_index.json", change)
    assert message in refusal(copy)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("transformer", {"ffn_dim": 48}),
        ("transformer_2", {"num_attention_heads": 3}),
        ("text_encoder", {"d_ff": 48}),
    ],
)
def test_weights_of_another_shape_are_refused(part: str, change: dict[str, Any], copy: Path) -> None:
    edit(copy / part / "config.json", change)
    assert refusal(copy).startswith(f"{copy / part} does not load")


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_missing_weights_are_refused_not_filled_with_noise(part: str, copy: Path) -> None:
    edit(copy / part / "config.json", {"num_layers": 3})
    message = refusal(copy)
    assert message.startswith(f"{copy / part} lacks ")
    assert ".2." in message


def test_a_wan_2_1_image_folder_is_refused(copy: Path) -> None:
    edit(copy / "transformer" / "config.json", {"image_dim": 1280})
    assert "CLIP" in refusal(copy)


def test_shards_are_read_through_their_index(copy: Path) -> None:
    job = WanJob(prompt="a cat", width=32, height=32, frames=5, steps=2)
    whole = WanEngine.load(copy).run(job).latents
    model = WanTransformer3DModel.from_pretrained(copy / "transformer")
    (copy / "transformer" / WEIGHTS).unlink()
    model.save_pretrained(copy / "transformer", max_shard_size="40KB")
    shards = sorted((copy / "transformer").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    assert torch.allclose(WanEngine.load(copy).run(job).latents, whole, atol=1e-5)
    shards[1].unlink()
    assert refusal(copy).startswith(f"{shards[1]} is missing")


@pytest.mark.parametrize("weight_map", [{}, {"a": "../../etc/weights.safetensors"}])
def test_an_index_that_points_nowhere_or_outside_is_refused(weight_map: dict[str, str], copy: Path) -> None:
    index = copy / "vae" / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert refusal(copy).startswith(f"{index} has no usable weight_map")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_hub_id_needs_a_commit(revision: str | None) -> None:
    assert "full commit hash" in refusal("Wan-AI/Wan2.2-T2V-A14B-Diffusers", revision)


def test_a_hub_id_is_downloaded_at_its_commit_without_unsafe_files(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        assert not any(
            pattern.endswith(suffix) for pattern in allow_patterns for suffix in (".bin", ".py", "*")
        )
        return str(tiny("t2v"))

    monkeypatch.setattr(folder_module, "snapshot_download", download)
    assert WanEngine.load("Wan-AI/Some", revision=COMMIT).model.family == "t2v"
    assert asked == [("Wan-AI/Some", COMMIT)]


def test_a_download_that_fails_is_a_folder_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(folder_module, "snapshot_download", download)
    assert "no route to host" in refusal("Wan-AI/Some", COMMIT)


@pytest.mark.parametrize(
    "argument", [{"dtype": "float16"}, {"policy": "offload"}, {"device": "cuda"}], ids=lambda a: next(iter(a))
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


def edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
