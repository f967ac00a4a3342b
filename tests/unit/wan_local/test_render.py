"""What a job becomes: the clip, its seed, its notes, its time."""

from __future__ import annotations

import io
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from PIL import Image, ImageDraw

from adapters.wan_local import _engines
from adapters.wan_local._adapter import WanLocal
from adapters.wan_local._pictures import read_picture
from adapters.wan_local.engine import WanEngine, WanJob, WanResult
from adapters.wan_local.tiny import Variant
from gateway.kit.testing import FakeControl, decode
from gateway.spec import Device, Job

CPU = Device(pool="cpu", slot=0, kind="cpu")
T2V, I2V, TI2V = "wan-2.2-t2v-a14b-tiny", "wan-2.2-i2v-a14b-tiny", "wan-2.2-ti2v-5b-tiny"
Makes = Callable[..., WanLocal]
Jobs = Callable[..., Job]
Controls = Callable[..., FakeControl]
Renders = Callable[[WanLocal, Job], bytes]


@pytest.mark.parametrize(
    ("model", "with_image", "size", "seconds", "fps", "frames"),
    [
        (T2V, False, "96x64", "1.5", 16, 25),
        (I2V, True, "64x96", "1", 16, 17),
        (TI2V, False, "64x32", "1", 24, 25),
        (TI2V, True, "32x64", "1", 10, 9),
    ],
    ids=["t2v", "i2v", "ti2v from text", "ti2v from an image"],
)
def test_the_clip_has_the_planned_size_rate_and_4n_plus_1_frames(
    make: Makes,
    job: Jobs,
    bytes_of: Renders,
    png: Callable[..., bytes],
    model: str,
    with_image: bool,
    size: str,
    seconds: str,
    fps: int,
    frames: int,
) -> None:
    image = png(size=(90, 50)) if with_image else None
    seen = decode(bytes_of(make(), job(model, size=size, seconds=seconds, fps=fps, first_frame=image)))
    assert (f"{seen.width}x{seen.height}", int(seen.fps), seen.frames) == (size, fps, frames)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    make: Makes, job: Jobs, bytes_of: Renders
) -> None:
    first = bytes_of(make(), job(T2V, seed=3))
    assert bytes_of(make(), job(T2V, seed=3)) == first
    assert bytes_of(make(), job(T2V, seed=4)) != first


def test_without_a_seed_one_is_drawn_and_told(make: Makes, job: Jobs, control: Controls) -> None:
    adapter = make()
    mine, other = (adapter.render(job(T2V, seed=None), CPU, control()) for _ in range(2))
    (note,) = mine.notes
    assert note.code == "seed_used"
    assert note.detail != other.notes[0].detail
    told = int(note.detail.rsplit(" ", 1)[1])
    again = adapter.render(job(T2V, seed=told), CPU, control())
    assert again.path.read_bytes() == mine.path.read_bytes()
    assert again.notes == ()


def test_an_attempt_that_is_run_again_draws_the_same_seed(make: Makes, job: Jobs, bytes_of: Renders) -> None:
    assert bytes_of(make(), job(T2V, seed=None, tag="a")) == bytes_of(make(), job(T2V, seed=None, tag="a"))


def test_the_first_and_last_frame_reach_the_engine(
    make: Makes, job: Jobs, bytes_of: Renders, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[WanJob] = []
    run = WanEngine.run

    def running(engine: WanEngine, wan_job: WanJob, control: Any, resume: None) -> WanResult:
        jobs.append(wan_job)
        return run(engine, wan_job, control)

    monkeypatch.setattr(WanEngine, "run", running)
    adapter = make()
    red, blue = (255, 0, 0), (0, 0, 255)
    without = bytes_of(adapter, job(I2V, first_frame=png(red)))
    both = bytes_of(adapter, job(I2V, first_frame=png(red), last_frame=png(blue)))
    assert jobs[0].last_image is None
    assert jobs[1].image is not None
    assert jobs[1].last_image is not None
    assert jobs[1].image.getcolors() == [(128 * 64, red)]
    assert jobs[1].last_image.getcolors() == [(128 * 64, blue)]
    assert both != without


def test_a_picture_is_turned_upright_and_cropped_to_its_middle(job: Jobs) -> None:
    wide = Image.new("RGB", (300, 100), "red")
    ImageDraw.Draw(wide).rectangle((90, 0, 209, 99), "lime")  # a little more than the square that is kept
    buffer = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying on its side
    wide.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=turned)
    picture = read_picture(job(I2V, first_frame=buffer.getvalue(), size="64x64"), "first_frame")
    assert picture is not None
    assert picture.size == (64, 64)
    assert picture.getcolors() == [(64 * 64, (0, 255, 0))]


def test_a_long_prompt_is_noted_with_its_token_count(make: Makes, job: Jobs, control: Controls) -> None:
    asset = make().render(job(T2V, prompt="x" * 600), CPU, control())
    (note,) = asset.notes
    assert note.code == "prompt_truncated"
    assert "601 tokens" in note.detail
    assert "first 512" in note.detail


def test_the_file_tells_its_recipe_but_not_its_prompt(make: Makes, job: Jobs, bytes_of: Renders) -> None:
    clip = bytes_of(make(), job(T2V, prompt="a secret place", seed=11))
    with av.open(io.BytesIO(clip)) as opened:
        recipe = json.loads(opened.metadata["recipe"])
    assert recipe["model"] == T2V
    assert (recipe["seed"], recipe["steps"], recipe["sampler"], recipe["frames"]) == (11, 4, "unipc", 9)
    assert b"secret" not in clip


def test_a_fast_preset_runs_on_the_distilled_folder(
    make: Makes,
    job: Jobs,
    bytes_of: Renders,
    folder: Callable[[Variant], Path],
    tiny_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, WanJob]] = []
    load, run = WanEngine.load, WanEngine.run
    loaded: list[str] = []

    def loading(where: str, *given: Any, **more: Any) -> WanEngine:
        loaded.append(where)
        return load(where, *given, **more)

    def running(engine: WanEngine, job: WanJob, control: Any, resume: None) -> WanResult:
        seen.append((loaded[-1], job))
        return run(engine, job, control)

    monkeypatch.setattr(WanEngine, "load", loading)
    monkeypatch.setattr(WanEngine, "run", running)
    make().prepare(CPU)
    real = "wan-2.2-t2v-a14b"
    adapter = make(folders={real: str(folder("t2v"))}, distilled={real: str(tiny_dir / "t2v")})
    bytes_of(adapter, job(real, preset="official", options={"steps": 2}))
    bytes_of(adapter, job(real, preset="fast"))
    (official, slow), (distilled, fast) = seen
    assert (official, slow.speed, slow.sampler, slow.steps) == (str(folder("t2v")), "exact", "unipc", 2)
    assert (distilled, fast.speed, fast.sampler, fast.steps) == (
        str(tiny_dir / "t2v"),
        "distilled",
        "euler",
        4,
    )
    assert (fast.guidance_high, fast.guidance_low) == (1, 1)


def test_one_engine_is_kept_per_slot_and_freed_for_the_next(
    make: Makes, job: Jobs, bytes_of: Renders, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[weakref.ref[WanEngine]] = []
    load = WanEngine.load

    def loading(*given: Any, **more: Any) -> WanEngine:
        assert all(engine() is None for engine in engines), "the old weights are still in memory"
        engine = load(*given, **more)
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(WanEngine, "load", loading)
    adapter = make()
    for model in (T2V, T2V, TI2V, T2V):
        bytes_of(adapter, job(model))
    assert len(engines) == 3


def test_device_time_starts_after_loading(
    make: Makes, job: Jobs, control: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.perf_counter
    late = 0.0
    load = _engines.Engines._load

    def slow(*given: Any) -> WanEngine:
        nonlocal late
        late += 3600
        return load(*given)

    monkeypatch.setattr(_engines.Engines, "_load", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late)
    asset = make().render(job(T2V), CPU, control())
    assert asset.usage.device_ms is not None
    assert 0 < asset.usage.device_ms < 60_000


@pytest.mark.parametrize(("settings", "batch"), [({}, 1), ({"batched_guidance": True}, 2)])
def test_the_operator_may_have_guidance_batched(
    make: Makes,
    job: Jobs,
    bytes_of: Renders,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, bool],
    batch: int,
) -> None:
    sizes: set[int] = set()
    forward = WanTransformerBlock.forward

    def noting(block: WanTransformerBlock, hidden: torch.Tensor, *given: Any) -> torch.Tensor:
        sizes.add(hidden.shape[0])
        return forward(block, hidden, *given)

    monkeypatch.setattr(WanTransformerBlock, "forward", noting)
    bytes_of(make(**settings), job(T2V))
    assert sizes == {batch}
