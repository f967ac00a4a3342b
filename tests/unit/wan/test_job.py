"""Which jobs a model takes, and the numbers it uses when the job gives none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, astuple
from typing import Any

import pytest
from PIL import Image

from adapters.wan_local.engine import (
    NEGATIVE_PROMPT,
    OFFICIAL,
    UnsupportedJob,
    WanEngine,
    WanJob,
    seconds_to_frames,
)
from adapters.wan_local.engine.job import settle
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
PICTURE = Image.new("RGB", (32, 32))


def test_official_numbers() -> None:
    assert {name: astuple(row.sampling) for name, row in OFFICIAL.items()} == {
        "t2v": ("unipc", 40, 12.0, 4.0, 3.0),
        "i2v": ("unipc", 40, 5.0, 3.5, 3.5),
        "ti2v": ("unipc", 50, 5.0, 5.0, 5.0),
    }
    assert {name: (row.fps, row.frames) for name, row in OFFICIAL.items()} == {
        "t2v": (16, 81),
        "i2v": (16, 81),
        "ti2v": (24, 121),
    }


def test_negative_prompt_defaults_to_the_official_one_and_can_be_emptied(engine: Engine) -> None:
    model = engine("t2v").model
    assert settle(WanJob(prompt="x"), model).negative_prompt == NEGATIVE_PROMPT
    assert settle(WanJob(prompt="x", negative_prompt=""), model).negative_prompt == ""


@pytest.mark.parametrize(
    ("variant", "size"), [("t2v", (832, 480, 81)), ("i2v", (832, 480, 81)), ("ti2v", (1280, 704, 121))]
)
def test_size_and_frames_default_to_the_models_own(
    variant: Variant, size: tuple[int, int, int], engine: Engine
) -> None:
    image = PICTURE if variant == "i2v" else None
    settled = settle(WanJob(prompt="x", image=image), engine(variant).model)
    assert (settled.width, settled.height, settled.frames) == size
    asked = settle(WanJob(prompt="x", image=image, width=64, height=96, frames=9), engine(variant).model)
    assert (asked.width, asked.height, asked.frames) == (64, 96, 9)


def test_a_job_does_not_change() -> None:
    job = WanJob(prompt="x")
    with pytest.raises(FrozenInstanceError):
        job.seed = 3  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(5, 16, 81), (5, 24, 121), (2, 16, 33), (0, 16, 1), (1, 24, 25), (3.1, 16, 49), (0.3, 16, 5)],
)
def test_seconds_to_frames(seconds: float, fps: float, frames: int) -> None:
    assert seconds_to_frames(seconds, fps) == frames


@pytest.mark.parametrize(
    ("variant", "change", "message"),
    [
        ("t2v", {"width": 100}, "width 100 does not fit: it has to be a multiple of 16; nearest: 96 and 112"),
        ("t2v", {"height": 7}, "height 7 does not fit: it has to be a multiple of 16; nearest: 16"),
        ("t2v", {"height": 0}, "height 0 does not fit: it has to be a multiple of 16; nearest: 16"),
        ("t2v", {"width": -16}, "width -16 does not fit: it has to be a multiple of 16; nearest: 16"),
        (
            "ti2v",
            {"height": 720},
            "height 720 does not fit: it has to be a multiple of 32; nearest: 704 and 736",
        ),
        ("t2v", {"frames": 80}, "frames 80 does not fit: it has to be 4n+1; nearest: 77 and 81"),
        ("t2v", {"frames": 3}, "frames 3 does not fit: it has to be 4n+1; nearest: 1 and 5"),
        ("t2v", {"frames": 0}, "frames 0 does not fit: it has to be 4n+1; nearest: 1"),
        ("t2v", {"frames": -3}, "frames -3 does not fit: it has to be 4n+1; nearest: 1"),
        ("t2v", {"image": PICTURE}, "text-to-video only"),
        ("i2v", {}, "needs a first frame"),
        ("i2v", {"last_image": PICTURE}, "needs a first frame"),
        ("ti2v", {"image": PICTURE, "last_image": PICTURE}, "last_image: only image-to-video"),
        ("t2v", {"last_image": PICTURE}, "last_image: only image-to-video"),
        ("i2v", {"image": PICTURE, "last_image": PICTURE, "frames": 1}, "no room for a last frame"),
        ("ti2v", {"guidance_low": 3.0}, "guidance_low: this model has one expert"),
        ("t2v", {"guidance_high": 0.5}, "guidance_high 0.5"),
        ("t2v", {"guidance_low": float("nan")}, "guidance_low nan"),
        ("t2v", {"steps": 0}, "steps 0"),
        ("t2v", {"shift": 0.0}, "shift 0.0"),
        ("t2v", {"shift": float("inf")}, "shift inf"),
        ("t2v", {"boundary": 1.5}, "boundary 1.5: from 0"),
        ("t2v", {"boundary": float("nan")}, "boundary nan: from 0"),
        ("ti2v", {"boundary": 0.5}, "boundary: this model has one expert"),
        ("t2v", {"sampler": "dpm"}, "sampler 'dpm'"),
        ("t2v", {"speed": "warp"}, "speed 'warp': use one of exact, distilled"),
        ("t2v", {"seed": -1}, "seed -1"),
        ("t2v", {"seed": 2**63}, "seed 9223372036854775808"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    variant: Variant, change: dict[str, Any], message: str, engine: Engine
) -> None:
    job = WanJob(**{"prompt": "x", "width": 32, "height": 32, "frames": 5, **change})
    with pytest.raises(UnsupportedJob) as caught:
        engine(variant).run(job)
    assert message in str(caught.value)


def test_the_distilled_numbers_fill_in_only_what_the_job_leaves_open(engine: Engine) -> None:
    model = engine("t2v").model
    fast = settle(WanJob(prompt="x", speed="distilled"), model).sampling
    assert (fast.sampler, fast.steps, fast.shift, fast.guidance_high, fast.guidance_low) == (
        "euler",
        4,
        5.0,
        1.0,
        1.0,
    )
    assert settle(WanJob(prompt="x", sampler="euler"), model).sampling == fast
    asked = settle(
        WanJob(prompt="x", speed="distilled", steps=8, sampler="unipc", guidance_high=2.0), model
    ).sampling
    assert (asked.sampler, asked.steps, asked.shift, asked.guidance_high) == ("unipc", 8, 5.0, 2.0)
