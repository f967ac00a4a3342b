"""The random-weight folders: complete, repeatable, all or nothing, and worth looking at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from adapters.wan_local import tiny as tiny_module
from adapters.wan_local.engine import OFFICIAL, WanEngine, WanJob, seconds_to_frames
from adapters.wan_local.tiny import Variant, write_tiny

Engine = Callable[[Variant], WanEngine]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_seed_is_a_folder(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    write_tiny(tmp_path / "a", "t2v", seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    write_tiny(tmp_path / "b", "t2v", seed=3)
    write_tiny(tmp_path / "c", "t2v", seed=4)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert digests(tmp_path / "a")[weights] != digests(tmp_path / "c")[weights]
    assert (
        digests(tmp_path / "a")[weights] != digests(tmp_path / "a")[weights.replace("former/", "former_2/")]
    )


def test_an_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="already exists"):
        write_tiny(tmp_path / "a", "t2v")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine"]


def test_a_full_disk_is_an_os_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(variant: str) -> Any:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tiny_module, "_transformer", full)
    with pytest.raises(OSError, match="No space left"):
        write_tiny(tmp_path / "new" / "a", "t2v")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(variant: str) -> Any:
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(tiny_module, "_model_index", broken)
    with pytest.raises(ZeroDivisionError):
        write_tiny(tmp_path / "new" / "a", "ti2v")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_five_seconds_run_and_show_something(variant: Variant, engine: Engine) -> None:
    frames = seconds_to_frames(5, OFFICIAL[variant].fps)
    image = Image.new("RGB", (64, 64), "blue") if variant == "i2v" else None
    job = WanJob(prompt="a cat", image=image, width=64, height=64, frames=frames, steps=2)
    clip = np.stack(list(engine(variant).run(job).frames))
    assert clip.shape == (OFFICIAL[variant].frames, 64, 64, 3)
    assert clip.std() > 5
    assert clip.std(axis=(1, 2, 3)).min() > 5


@pytest.mark.parametrize("variant", ["t2v", "ti2v"])
def test_two_prompts_give_two_clips(variant: Variant, engine: Engine) -> None:
    clips = [
        np.stack(
            list(engine(variant).run(WanJob(prompt=prompt, width=64, height=64, frames=9, steps=4)).frames)
        )
        for prompt in ("a cat", "A dog on the moon at night, slow zoom")
    ]
    assert np.abs(clips[0].astype(int) - clips[1]).mean() > 2
