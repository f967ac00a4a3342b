"""However a job ends, nothing of it stays: not in the engine, and not in memory."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adapters.wan_local.engine import Cancelled, OutOfMemory, Step, WanEngine, WanError, WanJob
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
Photo = Callable[[int], Image.Image]
Watch = Callable[..., Any]
JOB = WanJob(prompt="a cat", width=64, height=64, frames=9, steps=4, seed=7, shift=5.0)
ALLOCATOR = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

# where it fails, and at which call of that module's
STAGES = {
    "text": ("text_encoder", 1),
    "text, the negative": ("text_encoder", 2),
    "image": ("vae.encoder", 2),
    "first step": ("transformer.blocks.1", 1),
    "high": ("transformer.blocks.1.attn2", 3),
    "low": ("transformer_2.proj_out", 2),
    "decode, at once": ("vae.decoder", 1),
    "decode, halfway": ("vae.decoder", 2),
}


def clip(engine: WanEngine, job: WanJob, control: Any = None) -> tuple[torch.Tensor, list[Any]]:
    result = engine.run(job, control)
    return result.latents, list(result.frames)


def same(one: tuple[torch.Tensor, list[Any]], other: tuple[torch.Tensor, list[Any]]) -> bool:
    frames = zip(one[1], other[1], strict=True)
    return torch.equal(one[0], other[0]) and all(np.array_equal(a, b) for a, b in frames)


def failing(forward: Callable[..., Any], at: int, error: Exception) -> Callable[..., Any]:
    calls = count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise error
        return forward(*args, **kwargs)

    return call


_FRESH = """
import sys, numpy, torch
from PIL import Image
from adapters.wan_local.engine import WanEngine, WanJob
folder, picture, out = sys.argv[1:]
torch.set_num_threads(1)
image = Image.open(picture)
job = WanJob(prompt="a cat", image=image, width=64, height=64, frames=9, steps=4, seed=7, shift=5.0)
result = WanEngine.load(folder).run(job)
numpy.savez(out, latents=result.latents.numpy(), frames=numpy.stack(list(result.frames)))
"""


@pytest.fixture(scope="module")
def fresh(
    tiny: Callable[[Variant], Path], photo: Photo, tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.Tensor, list[Any]]:
    """The clip of a process that made nothing before."""
    folder = tmp_path_factory.mktemp("fresh")
    photo(1).save(folder / "picture.png")
    given = [tiny("i2v"), folder / "picture.png", folder / "clip.npz"]
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FRESH, *given], check=True, capture_output=True)
    with np.load(folder / "clip.npz") as made:
        return torch.from_numpy(made["latents"]), list(made["frames"])


@pytest.mark.parametrize("error", [ZeroDivisionError("injected"), ALLOCATOR], ids=["exception", "memory"])
@pytest.mark.parametrize("stage", STAGES)
def test_after_a_failure_at_any_stage_the_next_clip_is_that_of_a_fresh_process(
    stage: str,
    error: Exception,
    engine: Engine,
    photo: Photo,
    fresh: tuple[torch.Tensor, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part, at = STAGES[stage]
    used, job = engine("i2v"), replace(JOB, image=photo(1))
    module = attrgetter(part)(used.model)
    with monkeypatch.context() as patch:
        patch.setattr(module, "forward", failing(module.forward, at, error))
        with pytest.raises(OutOfMemory if error is ALLOCATOR else ZeroDivisionError):
            clip(used, replace(job, seed=8))
    assert same(clip(used, job), fresh)


@pytest.mark.parametrize(
    "stop_at", [("text", 1), ("image", 1), ("high", 1), ("high", 2), ("low", 1), ("decode", 1), ("decode", 5)]
)
def test_after_a_cancel_at_any_stage_the_next_clip_is_that_of_a_fresh_process(
    stop_at: tuple[Any, int],
    engine: Engine,
    photo: Photo,
    watch: Watch,
    fresh: tuple[torch.Tensor, list[Any]],
) -> None:
    job = replace(JOB, image=photo(1))
    with pytest.raises(Cancelled):
        clip(engine("i2v"), replace(job, seed=8), watch(stop_at=stop_at))
    assert same(clip(engine("i2v"), job), fresh)


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_a_kept_error_keeps_no_tensor_of_its_job(
    variant: Variant, engine: Engine, photo: Photo, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(JOB, image=None if variant == "t2v" else photo(1))
    used = engine(variant)
    clip(used, job)
    kept: list[BaseException] = []
    gc.collect()
    before = alive()
    module = used.model.transformer.blocks[1]
    for error in (ZeroDivisionError("injected"), ALLOCATOR):
        with monkeypatch.context() as patch:
            patch.setattr(module, "forward", failing(module.forward, 3, error))
            with pytest.raises((ZeroDivisionError, WanError)) as failed:
                used.run(job)
        kept.append(failed.value)
    with pytest.raises(Cancelled) as cancelled:
        used.run(job, watch(stop_at=("high", 1)))
    kept.append(cancelled.value)
    del failed, cancelled
    gc.collect()
    assert alive() == before
    assert len(kept) == 3


def alive() -> int:
    """How many tensors there are in this process."""
    return sum(1 for each in gc.get_objects() if issubclass(type(each), torch.Tensor))


def test_frames_that_are_not_taken_to_the_end_keep_nothing(engine: Engine) -> None:
    before_run = engine("t2v").run(JOB)
    whole = list(before_run.frames)
    result = engine("t2v").run(replace(JOB, seed=8))
    next(result.frames)
    result.frames.close()  # type: ignore[attr-defined]  # the iterator is a generator
    del result
    assert same(clip(engine("t2v"), JOB), (before_run.latents, whole))


def test_a_control_that_raises_in_stepped_leaves_the_engine_clean(engine: Engine, watch: Watch) -> None:
    class Broken(watch):  # type: ignore[misc]  # the fixture is the class
        def stepped(self, step: Step) -> None:
            step.pictures()
            raise ZeroDivisionError("injected")

    before = clip(engine("t2v"), JOB)
    with pytest.raises(ZeroDivisionError):
        clip(engine("t2v"), JOB, Broken())
    assert same(clip(engine("t2v"), JOB), before)


def test_a_cancel_is_heard_between_two_decoded_frames(engine: Engine) -> None:
    class Impatient:
        stop = False

        def cancelled(self) -> bool:
            return self.stop

        def progress(self, stage: str, done: int, total: int) -> None: ...

        def stepped(self, step: Step) -> None: ...

    control = Impatient()
    frames = engine("t2v").run(JOB, control).frames
    for _ in range(3):  # the first of the second latent frame's four is the second
        next(frames)
    control.stop = True
    with pytest.raises(Cancelled):
        next(frames)
