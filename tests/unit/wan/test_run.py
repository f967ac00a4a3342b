"""One run: what it reports, how it stops, and that it leaves the engine as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from adapters.wan_local.engine import Cancelled, OutOfMemory, Step, WanEngine, WanJob
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
Photo = Callable[[int], Image.Image]
JOB = WanJob(prompt="a cat", width=32, height=32, frames=5, steps=4, seed=7, shift=5.0)


def job_for(variant: Variant, photo: Photo) -> WanJob:
    return replace(JOB, image=photo(1)) if variant != "t2v" else JOB


class Calls:
    """Counts the forwards of both experts at the networks' last layer."""

    def __init__(self, engine: WanEngine) -> None:
        self.counts = {"high": 0, "low": 0}
        networks = [("high", engine.model.transformer), ("low", engine.model.transformer_2)]
        self._hooks = [
            network.proj_out.register_forward_hook(self._count(name))
            for name, network in networks
            if network is not None
        ]

    def _count(self, name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.counts[name] += 1

        return hook

    def stop(self) -> dict[str, int]:
        for hook in self._hooks:
            hook.remove()
        return self.counts


@pytest.mark.parametrize(
    ("variant", "change", "steps"),
    [
        ("t2v", {"steps": None, "shift": None}, (26, 14)),
        ("t2v", {"steps": 40, "shift": 3.0}, (13, 27)),
        ("t2v", {"steps": 4, "shift": 5.0}, (2, 2)),
        ("t2v", {"steps": 2, "shift": 7.0}, (2, 0)),
        ("t2v", {"steps": 4, "shift": 5.0, "boundary": 0.95}, (1, 3)),
        ("t2v", {"steps": 4, "shift": 5.0, "boundary": 0.0}, (4, 0)),
        ("i2v", {"steps": 4, "shift": 5.0, "boundary": 1.0}, (0, 4)),
        ("i2v", {"steps": None, "shift": None}, (15, 25)),
        ("i2v", {"steps": 40, "shift": 3.0}, (11, 29)),
        ("ti2v", {"steps": None, "shift": None}, (50, 0)),
    ],
)
def test_forwards_follow_the_schedules_split(
    variant: Variant, change: dict[str, Any], steps: tuple[int, int], engine: Engine, photo: Photo
) -> None:
    calls = Calls(engine(variant))
    stats = engine(variant).run(replace(job_for(variant, photo), **change)).stats
    high, low = steps
    assert stats.steps == {"high": high, "low": low}
    assert stats.forwards == calls.stop() == {"high": 2 * high, "low": 2 * low}
    assert stats.boundary_step == (None if variant == "ti2v" else high)


@pytest.mark.parametrize(
    ("high", "low", "forwards"),
    [(1.0, 3.0, (2, 4)), (4.0, 1.0, (4, 2)), (1.0, 1.0, (2, 2)), (4.0, 3.0, (4, 4))],
)
def test_guidance_one_skips_that_experts_unconditional_forward(
    high: float, low: float, forwards: tuple[int, int], engine: Engine
) -> None:
    calls = Calls(engine("t2v"))
    stats = engine("t2v").run(replace(JOB, guidance_high=high, guidance_low=low)).stats
    assert stats.forwards == calls.stop() == {"high": forwards[0], "low": forwards[1]}


def test_a_long_prompt_is_cut_and_counted(engine: Engine) -> None:
    long = engine("t2v").run(replace(JOB, prompt="x" * 600))
    assert (long.stats.prompt_tokens, long.stats.prompt_tokens_dropped) == (601, 89)
    cut = engine("t2v").run(replace(JOB, prompt="x" * 511))
    assert (cut.stats.prompt_tokens, cut.stats.prompt_tokens_dropped) == (512, 0)
    assert torch.equal(long.latents, cut.latents)


def test_progress_and_seconds_cover_every_stage(
    engine: Engine, photo: Photo, watch: Callable[..., Any]
) -> None:
    control = watch()
    result = engine("i2v").run(replace(job_for("i2v", photo), frames=9), control)
    assert len(list(result.frames)) == 9
    assert control.heard == [
        ("text", 1, 1),
        ("image", 1, 1),
        ("high", 1, 2),
        ("high", 2, 2),
        ("low", 1, 2),
        ("low", 2, 2),
        ("decode", 1, 9),
        ("decode", 5, 9),
        ("decode", 9, 9),
    ]
    assert list(result.stats.seconds) == ["text", "image", "high", "low", "decode"]
    assert all(seconds > 0 for seconds in result.stats.seconds.values())
    assert result.stats.job.seed == 7


@pytest.mark.parametrize(
    ("stop_at", "forwards"),
    [(("text", 1), 0), (("image", 1), 0), (("high", 1), 2), (("high", 2), 4), (("low", 1), 6)],
)
def test_cancel_is_heard_before_the_next_stage_or_step(
    stop_at: tuple[str, int], forwards: int, engine: Engine, photo: Photo, watch: Callable[..., Any]
) -> None:
    job = job_for("i2v", photo)
    before = engine("i2v").run(job).latents
    calls = Calls(engine("i2v"))
    control = watch(stop_at=stop_at)
    with pytest.raises(Cancelled):
        engine("i2v").run(job, control)
    assert sum(calls.stop().values()) == forwards
    assert control.heard[-1][:2] == stop_at
    assert torch.equal(engine("i2v").run(job).latents, before)


def test_cancel_stops_the_frames(engine: Engine, watch: Callable[..., Any]) -> None:
    result = engine("t2v").run(replace(JOB, frames=9), watch(stop_at=("decode", 5)))
    opening = [next(result.frames) for _ in range(5)]
    assert len(opening) == 5
    with pytest.raises(Cancelled):
        next(result.frames)
    assert list(result.frames) == []


@pytest.mark.parametrize(
    ("variant", "part", "call"),
    [
        ("t2v", "text_encoder", 2),
        ("t2v", "transformer.proj_out", 2),
        ("t2v", "transformer_2.proj_out", 2),
        ("i2v", "vae.encoder", 2),
        ("i2v", "transformer.patch_embedding", 2),
        ("i2v", "transformer_2.proj_out", 4),
        ("ti2v", "vae.encoder", 1),
        ("ti2v", "transformer.proj_out", 5),
    ],
)
def test_after_a_failure_the_next_job_equals_one_in_a_fresh_engine(
    variant: Variant,
    part: str,
    call: int,
    engine: Engine,
    tiny: Callable[[Variant], Path],
    photo: Photo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = engine(variant)
    network = attrgetter(part)(used.model)
    job = job_for(variant, photo)
    with monkeypatch.context() as patch:
        patch.setattr(network, "forward", failing_at(call, network.forward))
        with pytest.raises(ZeroDivisionError):
            used.run(job)
    assert all(feature is None for feature in getattr(used.model.vae, "_enc_feat_map", []))
    fresh = WanEngine.load(tiny(variant)).run(job)
    again = used.run(job)
    # Weights land on other addresses in another engine, which can pick another kernel: not bit-equal.
    assert torch.allclose(again.latents, fresh.latents, atol=1e-5)
    assert again.stats.forwards == fresh.stats.forwards


def failing_at(call: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    calls = count(1)

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise ZeroDivisionError("injected")
        return forward(*args, **kwargs)

    return failing


def test_a_control_that_raises_leaves_the_engine_clean(engine: Engine) -> None:
    class Broken:
        def cancelled(self) -> bool:
            return False

        def progress(self, stage: str, done: int, total: int) -> None:
            if stage == "low":
                raise ZeroDivisionError("injected")

        def stepped(self, step: Step) -> None:
            pass

    before = engine("t2v").run(JOB).latents
    with pytest.raises(ZeroDivisionError):
        engine("t2v").run(JOB, Broken())
    assert torch.equal(engine("t2v").run(JOB).latents, before)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["cuda", "python", "cpu"],
)
@pytest.mark.parametrize(
    ("part", "stage"),
    [
        ("text_encoder", "text"),
        ("transformer.proj_out", "high"),
        ("transformer_2.proj_out", "low"),
        ("vae.encoder", "image"),
    ],
)
def test_out_of_memory_is_named_with_its_stage(
    error: Exception, part: str, stage: str, engine: Engine, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise error

    job = job_for("i2v", photo)
    before = engine("i2v").run(job).latents
    with monkeypatch.context() as patch:
        patch.setattr(attrgetter(part)(engine("i2v").model), "forward", full)
        with pytest.raises(OutOfMemory, match=stage):
            engine("i2v").run(job)
    assert torch.equal(engine("i2v").run(job).latents, before)


def test_a_job_larger_than_any_memory_is_named_too(engine: Engine) -> None:
    with pytest.raises(OutOfMemory, match="noise"):
        engine("t2v").run(replace(JOB, width=16 * 2**22, height=16 * 2**22))


def test_other_runtime_errors_keep_their_name(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine("t2v").model.transformer.proj_out, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine("t2v").run(JOB)


def test_a_run_does_not_touch_the_global_random_state(engine: Engine) -> None:
    before = torch.random.get_rng_state()
    list(engine("t2v").run(JOB).frames)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.is_grad_enabled()
