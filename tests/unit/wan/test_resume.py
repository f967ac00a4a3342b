"""A job that goes on from a checkpoint gives what it would have given uninterrupted, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from adapters.wan_local.engine import (
    Checkpoint,
    CheckpointDamaged,
    CheckpointMismatch,
    WanEngine,
    WanJob,
)
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
Photo = Callable[[int], Image.Image]
Watch = Callable[..., Any]
STEPS = 8
JOB = WanJob(prompt="a cat", width=32, height=32, frames=5, steps=STEPS, seed=7, shift=5.0)

CASES: dict[str, tuple[Variant, str, dict[str, Any]]] = {
    "t2v": ("t2v", "", {}),
    "t2v, low expert unguided": ("t2v", "", {"guidance_low": 1.0}),
    "t2v, one expert alone": ("t2v", "", {"shift": 100.0}),
    "t2v, distilled": ("t2v", "", {"speed": "distilled"}),
    "i2v": ("i2v", "first", {}),
    "i2v, last frame too": ("i2v", "both", {}),
    "ti2v": ("ti2v", "", {}),
    "ti2v, from an image": ("ti2v", "first", {}),
}


def job_of(case: str, photo: Photo) -> tuple[Variant, WanJob]:
    variant, images, change = CASES[case]
    return variant, replace(
        JOB,
        image=photo(1) if images else None,
        last_image=photo(2) if images == "both" else None,
        **change,
    )


@pytest.mark.parametrize("case", CASES)
def test_resumed_at_every_step_equals_uninterrupted(
    case: str, engine: Engine, photo: Photo, watch: Watch
) -> None:
    variant, job = job_of(case, photo)
    used = engine(variant)
    control = watch(keep=range(1, STEPS + 1))
    whole = used.run(job, control)
    assert list(control.kept) == list(range(1, STEPS + 1))
    for step, checkpoint in control.kept.items():
        again = Checkpoint.from_bytes(checkpoint.to_bytes())
        rest = watch()
        resumed = used.run(job, rest, resume=again)
        assert torch.equal(resumed.latents, whole.latents), f"step {step}"
        assert resumed.stats.resumed_at == step
        assert sum(resumed.stats.steps.values()) == STEPS - step
        done = [heard for heard in rest.heard if heard[0] in ("high", "low")]
        assert done == [heard for heard in control.heard if heard[0] in ("high", "low")][step:]


def test_resumed_frames_equal_uninterrupted_ones(engine: Engine, watch: Watch) -> None:
    control = watch(keep=[3])
    whole = [frame.tobytes() for frame in engine("t2v").run(JOB, control).frames]
    resumed = engine("t2v").run(JOB, resume=control.kept[3])
    assert [frame.tobytes() for frame in resumed.frames] == whole


def test_a_job_may_be_interrupted_again_and_again(engine: Engine, watch: Watch) -> None:
    whole = engine("t2v").run(JOB).latents
    checkpoint = None
    for step in range(1, STEPS):
        control = watch(keep=[step])
        engine("t2v").run(JOB, control, resume=checkpoint)
        checkpoint = control.kept[step]
        assert checkpoint.step == step
    assert checkpoint is not None
    assert torch.equal(engine("t2v").run(JOB, resume=checkpoint).latents, whole)


def test_a_checkpoint_is_not_changed_by_the_run_that_it_is_taken_of_or_resumed_in(
    engine: Engine, watch: Watch
) -> None:
    control = watch(keep=[3])
    engine("t2v").run(JOB, control)
    before = control.kept[3].to_bytes()
    engine("t2v").run(JOB, resume=control.kept[3])
    assert control.kept[3].to_bytes() == before


def test_the_time_of_the_steps_before_is_carried_along(engine: Engine, watch: Watch) -> None:
    control = watch(keep=[3])
    engine("t2v").run(JOB, control)
    checkpoint = replace(control.kept[3], seconds=100.0)
    later = watch(keep=[5])
    stats = engine("t2v").run(JOB, later, resume=checkpoint).stats
    assert stats.seconds_before == 100.0
    assert stats.stepping() == 100.0 + stats.seconds["high"] + stats.seconds["low"]
    assert 100.0 < later.kept[5].seconds < stats.stepping()


_ELSEWHERE = """
import sys, json, torch
from pathlib import Path
from adapters.wan_local.engine import Checkpoint, WanEngine, WanJob
torch.set_num_threads(1)
folder, checkpoint, out, job = sys.argv[1:]
job = WanJob(**json.loads(job))
resume = Checkpoint.from_bytes(Path(checkpoint).read_bytes())
latents = WanEngine.load(folder).run(job, resume=resume).latents
Path(out).write_bytes(latents.numpy().tobytes())
"""


@pytest.mark.parametrize("step", [3])
def test_another_process_goes_on_bit_for_bit(
    step: int, engine: Engine, tiny: Callable[[Variant], Path], watch: Watch, tmp_path: Path
) -> None:
    control = watch(keep=[step])
    whole = engine("t2v").run(JOB, control).latents
    (tmp_path / "checkpoint").write_bytes(control.kept[step].to_bytes())
    given = {
        name: getattr(JOB, name) for name in ("prompt", "width", "height", "frames", "steps", "seed", "shift")
    }
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            _ELSEWHERE,
            tiny("t2v"),
            tmp_path / "checkpoint",
            tmp_path / "latents",
            json.dumps(given),
        ],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "latents").read_bytes() == whole.numpy().tobytes()


@pytest.fixture
def kept(engine: Engine, watch: Watch) -> Checkpoint:
    """Of the job ``JOB`` after three steps."""
    control = watch(keep=[3])
    engine("t2v").run(JOB, control)
    checkpoint: Checkpoint = control.kept[3]
    return checkpoint


def test_bytes_say_when_they_are_damaged(kept: Checkpoint) -> None:
    data = kept.to_bytes()
    for place in (0, 20, 26, 60, 90, 100, 200, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(CheckpointDamaged):
            Checkpoint.from_bytes(bytes(damaged))
    for length in (0, 10, 26, 80, 91, 500, len(data) - 1):
        with pytest.raises(CheckpointDamaged):
            Checkpoint.from_bytes(data[:length])
    with pytest.raises(CheckpointDamaged):
        Checkpoint.from_bytes(data + b"\0")


def test_a_checkpoint_of_another_format_is_refused(kept: Checkpoint) -> None:
    with pytest.raises(CheckpointDamaged, match="this version"):
        Checkpoint.from_bytes(kept.to_bytes().replace(b"checkpoint 1", b"checkpoint 2", 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "a dog"}, "another prompt"),
        ({"negative_prompt": "blurred"}, "another negative prompt"),
        ({"seed": 8}, "seed was 7, is 8"),
        ({"width": 64}, "size was 32x32, 5 frames, is 64x32, 5 frames"),
        ({"frames": 9}, "size was 32x32, 5 frames, is 32x32, 9 frames"),
        ({"guidance_high": 4.5}, "guidance was 4.0 and 3.0, is 4.5 and 3.0"),
        ({"guidance_low": 1.0}, "guidance was 4.0 and 3.0, is 4.0 and 1.0"),
        ({"steps": STEPS + 1}, "another schedule"),
        ({"shift": 6.0}, "another schedule"),
        ({"boundary": 0.95}, "another schedule"),
        ({"speed": "distilled"}, "speed was exact, is distilled"),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_another_jobs_checkpoint_is_refused(
    change: dict[str, Any], message: str, kept: Checkpoint, engine: Engine
) -> None:
    with pytest.raises(CheckpointMismatch) as caught:
        engine("t2v").run(replace(JOB, **change), resume=kept)
    assert message in str(caught.value)


def test_another_picture_is_another_job(engine: Engine, photo: Photo, watch: Watch) -> None:
    control = watch(keep=[3])
    engine("i2v").run(replace(JOB, image=photo(1)), control)
    for change, what in (({"image": photo(2)}, "image"), ({"last_image": photo(1)}, "last image")):
        with pytest.raises(CheckpointMismatch, match=f"another {what}"):
            engine("i2v").run(replace(JOB, **{"image": photo(1), **change}), resume=control.kept[3])


def test_other_weights_dtype_guidance_backend_and_versions_are_refused(
    kept: Checkpoint, engine: Engine, tiny: Callable[[Variant], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(other: WanEngine) -> str:
        with pytest.raises(CheckpointMismatch) as caught:
            other.run(JOB, resume=kept)
        return str(caught.value)

    model = engine("t2v").model
    assert "another weights" in refusal(WanEngine(replace(model, digest="0" * 64)))
    assert "dtype was float32, is bfloat16" in refusal(WanEngine.load(tiny("t2v"), dtype="bfloat16"))
    assert "halves of guidance was in turn, is batched" in refusal(WanEngine(model, batched_guidance=True))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        assert f"torch was {kept.fingerprint['torch']}, is 9.9" in refusal(engine("t2v"))
    model.transformer.set_attention_backend("_native_math")
    try:
        assert "attention was native, is _native_math" in refusal(engine("t2v"))
    finally:
        model.transformer.set_attention_backend("native")


def test_a_refused_checkpoint_costs_nothing_and_leaves_the_engine_clean(
    kept: Checkpoint, engine: Engine, watch: Watch
) -> None:
    control = watch()
    before = engine("t2v").run(JOB).latents
    with pytest.raises(CheckpointMismatch):
        engine("t2v").run(replace(JOB, seed=8), control, resume=kept)
    assert control.heard == []
    assert torch.equal(engine("t2v").run(JOB).latents, before)


def test_the_fingerprint_names_what_the_numbers_depend_on(kept: Checkpoint) -> None:
    assert set(kept.fingerprint) == {
        "weights",
        "prompt",
        "negative prompt",
        "image",
        "last image",
        "size",
        "seed",
        "schedule",
        "speed",
        "loras",
        "dtype",
        "device",
        "attention",
        "guidance",
        "halves of guidance",
        "torch",
        "diffusers",
        "transformers",
    }
    assert JOB.prompt not in json.dumps(dict(kept.fingerprint))


@pytest.mark.parametrize(
    "change",
    [{"step": 99}, {"step": 0}, {"step": -1}, {"total": 3}, {"latents": torch.zeros(1, 16, 2, 4, 5)}],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    change: dict[str, Any], kept: Checkpoint, engine: Engine
) -> None:
    forged = Checkpoint.from_bytes(replace(kept, **change).to_bytes())
    for refuse in (engine("t2v").check_resume, lambda job, one: engine("t2v").run(job, resume=one)):
        with pytest.raises(CheckpointDamaged, match="contradicts"):
            refuse(JOB, forged)


def test_whether_a_job_can_go_on_is_told_beforehand(kept: Checkpoint, engine: Engine) -> None:
    engine("t2v").check_resume(JOB, kept)
    with pytest.raises(CheckpointMismatch, match="seed was 7, is 8"):
        engine("t2v").check_resume(replace(JOB, seed=8), kept)
