"""The nano family's folders: whole, checked, mended, alone, whoever asks. Random parts stand in."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from adapters.wan_local.engine import FolderError, WanEngine, WanJob
from adapters.wan_local.nano import assembly
from adapters.wan_local.nano.assembly import assemble, copy_to
from adapters.wan_local.nano.family import CARD, MODELS, PARTS, find_model
from adapters.wan_local.nano.release import release
from adapters.wan_local.tiny import Variant, write_tiny

VARIANTS: tuple[Variant, ...] = ("t2v", "i2v", "ti2v")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of parts as training leaves it."""
    root = tmp_path_factory.mktemp("parts")
    for variant in VARIANTS:
        write_tiny(root / "whole" / variant, variant)
        for name, stored in PARTS[variant].items():
            if name != "scheduler" and not (root / stored).exists():
                shutil.copytree(root / "whole" / variant / name, root / stored)
    (root / CARD).write_text("what this is\n")
    return root


@pytest.fixture(scope="module")
def weights(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release makes of them."""
    made = tmp_path_factory.mktemp("release") / "weights"
    release(parts, made)
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("variant", ["t2v", "ti2v"])
def test_a_folder_put_together_is_the_one_that_was_taken_apart(
    variant: Variant, parts: Path, weights: Path, tmp_path: Path
) -> None:
    folder = assemble(variant, tmp_path, weights)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    whole = files(parts / "whole" / variant)
    assert {name: content for name, content in files(folder).items() if name in whole} == whole
    engine = WanEngine.load(folder)
    frames = list(engine.run(WanJob(prompt="a", width=64, height=64, frames=5, steps=2)).frames)
    assert np.stack(frames).shape == (5, 64, 64, 3)


def test_parts_that_models_share_are_stored_once(weights: Path) -> None:
    stored = [content for name, content in files(weights).items() if name.endswith(".safetensors")]
    assert len(stored) == len(set(stored)) == 8  # five experts, two VAEs, one text encoder


def test_a_second_call_changes_nothing(weights: Path, tmp_path: Path) -> None:
    folder = assemble("t2v", tmp_path, weights)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert assemble("t2v", tmp_path, weights) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


@pytest.mark.parametrize("harm", ["change", "cut", "remove", "add", "manifest", "file"])
def test_a_damaged_folder_is_mended(harm: str, weights: Path, tmp_path: Path) -> None:
    folder = assemble("t2v", tmp_path, weights)
    sound = files(folder)
    file = folder / "transformer_2" / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    if harm == "change":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "cut":
        file.write_bytes(content[:100])
    elif harm == "remove":
        file.unlink()
    elif harm == "add":
        (folder / "vae" / "more.json").write_text("{}")
    elif harm == "manifest":
        (folder / assembly.MANIFEST).write_text("{}")
    else:
        shutil.rmtree(folder)
        folder.write_text("in the way")
    assert assemble("t2v", tmp_path, weights) == folder
    assert files(folder) == sound
    assert {path.name for path in tmp_path.iterdir()} == {".lock", folder.name}


def test_many_may_ask_at_once(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []
    real = assembly._build

    def note(folder: Path, *given: object) -> None:
        built.append(folder)
        real(folder, *given)  # type: ignore[arg-type]  # handed through as they came

    monkeypatch.setattr(assembly, "_build", note)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: assemble("i2v", tmp_path, weights), range(8)))
    assert len(found) == 1
    assert built == list(found)


def test_damaged_stored_parts_make_no_folder(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "weights"
    shutil.copytree(weights, broken)
    file = broken / "t2v_low" / "config.json"
    file.write_text(file.read_text().replace("2", "3"))
    with pytest.raises(FolderError, match=r"damaged: install Reelgate again"):
        assemble("t2v", tmp_path / "root", broken)
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".lock"]
    assert assemble("ti2v", tmp_path / "root", broken).is_dir()


def test_another_version_lies_beside_it(weights: Path, parts: Path, tmp_path: Path) -> None:
    newer = tmp_path / "parts"
    shutil.copytree(parts, newer)
    write_tiny(tmp_path / "other", "ti2v", seed=1)
    shutil.rmtree(newer / "ti2v")
    shutil.copytree(tmp_path / "other" / "transformer", newer / "ti2v")
    release(newer, tmp_path / "weights")
    assert assemble("ti2v", tmp_path / "root", weights) != assemble(
        "ti2v", tmp_path / "root", tmp_path / "weights"
    )
    assert assemble("t2v", tmp_path / "root", weights) == assemble(
        "t2v", tmp_path / "root", tmp_path / "weights"
    )


def test_a_release_can_be_made_again_of_itself(weights: Path, tmp_path: Path) -> None:
    again = tmp_path / "weights"
    shutil.copytree(weights, again)
    release(again, again)
    assert files(again) == files(weights)


def test_a_release_of_parts_that_do_not_fit_leaves_what_was_there(
    parts: Path, weights: Path, tmp_path: Path
) -> None:
    odd, there = tmp_path / "parts", tmp_path / "weights"
    shutil.copytree(parts, odd)
    (odd / "vae_48" / "config.json").unlink()
    shutil.copytree(weights, there)
    with pytest.raises(FolderError, match=r"vae/config\.json is missing"):
        release(odd, there)
    assert files(there) == files(weights)


def test_copying_leaves_an_occupied_folder_alone(weights: Path, tmp_path: Path) -> None:
    copy_to(tmp_path / "new" / "a", "t2v", weights)
    assert (tmp_path / "new" / "a" / CARD).is_file()
    with pytest.raises(FileExistsError, match="already exists"):
        copy_to(tmp_path / "new" / "a", "t2v", weights)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a"]


def test_names() -> None:
    assert {find_model(name) for name in MODELS} == set(MODELS)
    assert find_model("nano-ti2v") == "wan-2.2-nano-ti2v"
    assert find_model("wan-2.2-t2v-a14b") is None
    assert find_model("wan-2.2-t2v") is None
