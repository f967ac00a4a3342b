"""The engine's latents are those of diffusers' own pipelines.

The reference loads the folder by itself, so a mix-up in loading shows as well as one in the loop. Run with
``-s`` to see the table of differences.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
)
from PIL import Image

from adapters.wan_local.engine import WanEngine, WanJob
from adapters.wan_local.tiny import Variant

TOLERANCE = 1e-5
SENSITIVITY = 1e-3
PROMPT = "A cat &amp; a dog\n bake a cake, “slowly”"
NEGATIVE = "blurred, 静态"
OFFICIAL_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

Folder = Callable[[Variant], Path]
Engine = Callable[[Variant], WanEngine]
Photo = Callable[[int], Image.Image]


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, float]]]:
    rows: list[tuple[str, float]] = []
    yield rows
    print("\n| case | max abs difference |\n|---|---|")
    for name, difference in rows:
        print(f"| {name} | {difference:.1e} |")


@pytest.fixture(scope="module")
def pipeline(tiny: Folder) -> Callable[..., Any]:
    """diffusers' pipeline on a variant's folder, loaded by diffusers."""

    @cache
    def load(variant: Variant, kind: Any, dtype: torch.dtype = torch.float32) -> Any:
        folder = tiny(variant)
        index = json.loads((folder / "model_index.json").read_text())
        # A ti2v folder names one pipeline class but serves both.
        loaded = kind.from_pretrained(
            folder,
            dtype={"default": dtype, "vae": torch.float32},
            boundary_ratio=index["boundary_ratio"],
            expand_timesteps=index["expand_timesteps"],
        )
        loaded.set_progress_bar_config(disable=True)
        # Memory-mapped weights lie at odd addresses, where the same sums are added up in another order.
        for network in (loaded.text_encoder, loaded.vae, loaded.transformer, loaded.transformer_2):
            for weight in network.parameters() if network is not None else ():
                weight.data = weight.data.clone()
        return loaded

    return load


def reference(
    pipe: Any, job: WanJob, *, shift: float, steps: int, high: float, low: float | None
) -> torch.Tensor:
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=shift)
    return call(pipe, job, steps=steps, high=high, low=low)


def call(pipe: Any, job: WanJob, *, steps: int, high: float, low: float | None) -> torch.Tensor:
    extra = {} if job.image is None else {"image": job.image}
    if job.last_image is not None:
        extra["last_image"] = job.last_image
    latents: torch.Tensor = pipe(
        prompt=job.prompt,
        negative_prompt=OFFICIAL_NEGATIVE if job.negative_prompt is None else job.negative_prompt,
        height=job.height,
        width=job.width,
        num_frames=job.frames,
        num_inference_steps=steps,
        guidance_scale=high,
        guidance_scale_2=low,
        generator=torch.Generator().manual_seed(job.seed),
        output_type="latent",
        **extra,
    ).frames
    return latents


def kind_of(job: WanJob) -> Any:
    return WanPipeline if job.image is None else WanImageToVideoPipeline


# variant, images, steps, width, height, frames, seed, guidance high, guidance low, shift
CASES = [
    ("t2v", "", 1, 32, 32, 5, 0, 4.0, 3.0, 12.0),
    ("t2v", "", 4, 32, 48, 9, 1, 4.0, 3.0, 5.0),
    ("t2v", "", 8, 64, 32, 9, 2, 6.5, 1.5, 12.0),
    ("t2v", "", 13, 48, 48, 1, 3, 2.0, 7.0, 3.0),
    ("t2v", "", 6, 32, 32, 5, 4, 4.0, 1.0, 5.0),
    ("t2v", "", 6, 32, 32, 5, 5, 1.0, 1.0, 5.0),
    # The second timestep is 875, the boundary itself.
    ("t2v", "", 2, 32, 32, 5, 15, 4.0, 3.0, 7.0),
    ("i2v", "first", 4, 32, 48, 9, 6, 3.5, 3.5, 5.0),
    ("i2v", "first", 9, 64, 32, 5, 7, 5.0, 2.0, 3.0),
    ("i2v", "first", 3, 32, 32, 1, 8, 3.5, 3.5, 5.0),
    ("i2v", "both", 4, 48, 32, 9, 9, 3.5, 3.5, 5.0),
    ("i2v", "both", 7, 32, 64, 5, 10, 2.5, 4.5, 8.0),
    # A number of tokens that 4 divides, as every size for real has: with 6 of them diffusers' own timestep
    # embeddings differ between tokens in the last bit, which these weights make 1.2e-5 of.
    ("ti2v", "", 4, 64, 64, 9, 11, 5.0, None, 5.0),
    ("ti2v", "", 9, 32, 64, 5, 12, 1.0, None, 3.0),
    ("ti2v", "first", 4, 64, 64, 9, 13, 5.0, None, 5.0),
    ("ti2v", "first", 9, 32, 64, 5, 14, 2.0, None, 3.0),
]


@pytest.mark.parametrize(
    ("variant", "images", "steps", "width", "height", "frames", "seed", "high", "low", "shift"), CASES
)
def test_latents_equal_those_of_diffusers(
    variant: Variant,
    images: str,
    steps: int,
    width: int,
    height: int,
    frames: int,
    seed: int,
    high: float,
    low: float | None,
    shift: float,
    engine: Engine,
    pipeline: Callable[..., Any],
    photo: Photo,
    table: list[tuple[str, float]],
    record_property: Callable[[str, object], None],
) -> None:
    job = WanJob(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        image=photo(1) if images else None,
        last_image=photo(2) if images == "both" else None,
        width=width,
        height=height,
        frames=frames,
        steps=steps,
        seed=seed,
        guidance_high=high,
        guidance_low=low,
        shift=shift,
    )
    ours = engine(variant).run(job).latents
    theirs = reference(pipeline(variant, kind_of(job)), job, shift=shift, steps=steps, high=high, low=low)
    difference = float((ours - theirs).abs().max())
    size = f"{width}x{height}x{frames}"
    name = (
        f"{variant} {images or 'text'} {steps} steps {size} seed {seed} guidance {high}/{low} shift {shift}"
    )
    table.append((name, difference))
    record_property("max_abs_difference", difference)
    assert ours.shape == theirs.shape
    assert ours.dtype == torch.float32
    assert difference <= TOLERANCE, name


@pytest.mark.parametrize(
    ("variant", "steps", "shift", "high", "low"),
    [("t2v", 40, 12.0, 4.0, 3.0), ("i2v", 40, 5.0, 3.5, 3.5), ("ti2v", 50, 5.0, 5.0, None)],
)
def test_a_job_without_settings_equals_diffusers_with_the_official_ones(
    variant: Variant,
    steps: int,
    shift: float,
    high: float,
    low: float | None,
    engine: Engine,
    pipeline: Callable[..., Any],
    photo: Photo,
    table: list[tuple[str, float]],
) -> None:
    image = photo(3) if variant == "i2v" else None
    job = WanJob(prompt=PROMPT, image=image, width=32, height=32, frames=5, seed=7)
    ours = engine(variant).run(job).latents
    theirs = reference(pipeline(variant, kind_of(job)), job, shift=shift, steps=steps, high=high, low=low)
    difference = float((ours - theirs).abs().max())
    table.append((f"{variant} official defaults", difference))
    assert difference <= TOLERANCE


def test_bfloat16_equals_diffusers(
    tiny: Folder, pipeline: Callable[..., Any], table: list[tuple[str, float]]
) -> None:
    job = WanJob(prompt=PROMPT, width=32, height=32, frames=5, steps=4, seed=7)
    engine = WanEngine.load(tiny("t2v"), dtype="bfloat16")
    ours = engine.run(job).latents
    theirs = reference(
        pipeline("t2v", WanPipeline, torch.bfloat16), job, shift=12.0, steps=4, high=4.0, low=3.0
    )
    table.append(("t2v bfloat16", float((ours - theirs).abs().max())))
    assert torch.allclose(ours, theirs, atol=1e-2)
    kept = {name: weight.dtype for name, weight in engine.model.transformer.named_parameters()}
    assert kept["condition_embedder.time_embedder.linear_1.weight"] == torch.float32
    assert kept["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert engine.model.vae.dtype == torch.float32


def test_euler_equals_diffusers_on_the_even_grid(
    engine: Engine, pipeline: Callable[..., Any], table: list[tuple[str, float]]
) -> None:
    class EvenGrid(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]  # diffusers is unchecked, so Any
        def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
            super().set_timesteps(
                device=device, sigmas=np.arange(num_inference_steps, 0, -1) / num_inference_steps
            )

    job = WanJob(prompt=PROMPT, width=32, height=32, frames=5, seed=7, speed="distilled")
    pipe = pipeline("t2v", WanPipeline)
    before = pipe.scheduler
    pipe.scheduler = EvenGrid(shift=5.0)
    theirs = call(pipe, job, steps=4, high=1.0, low=1.0)
    pipe.scheduler = before
    result = engine("t2v").run(job)
    table.append(("t2v fast (euler)", float((result.latents - theirs).abs().max())))
    assert torch.allclose(result.latents, theirs, atol=TOLERANCE)
    assert result.stats.forwards == {"high": 2, "low": 2}
    same = engine("t2v").run(
        replace(job, speed="exact", sampler="euler", steps=4, guidance_high=1.0, guidance_low=1.0)
    )
    assert torch.equal(same.latents, result.latents)


@pytest.mark.parametrize(
    "change",
    [
        {"use_karras_sigmas": True},
        {"solver_type": "bh1"},
        {"solver_order": 1},
        {"lower_order_final": False},
        {"final_sigmas_type": "sigma_min"},
        {"thresholding": True},
        {"num_train_timesteps": 100},
        {"solver_type": "nonsense"},
        {"_class_name": "EulerDiscreteScheduler"},
    ],
    ids=str,
)
def test_nothing_of_the_folders_scheduler_file_moves_a_latent(
    change: dict[str, Any], tiny: Folder, engine: Engine, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny("t2v"), tmp_path / "model"))
    (folder / "reelgate-manifest.json").unlink(missing_ok=True)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    job = WanJob(prompt=PROMPT, width=32, height=32, frames=5, steps=4, seed=7)
    assert torch.equal(WanEngine.load(folder).run(job).latents, engine("t2v").run(job).latents)


@pytest.mark.parametrize("variant", ["t2v", "i2v"])
def test_parity_notices_swapped_experts(
    variant: Variant, engine: Engine, pipeline: Callable[..., Any], photo: Photo
) -> None:
    model = engine(variant).model
    assert model.transformer_2 is not None
    swapped = WanEngine(replace(model, transformer=model.transformer_2, transformer_2=model.transformer))
    image = photo(1) if variant == "i2v" else None
    job = WanJob(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        image=image,
        width=32,
        height=32,
        frames=5,
        steps=4,
        shift=5.0,
    )
    high, low = (4.0, 3.0) if variant == "t2v" else (3.5, 3.5)
    theirs = reference(pipeline(variant, kind_of(job)), job, shift=5.0, steps=4, high=high, low=low)
    assert float((swapped.run(job).latents - theirs).abs().max()) > SENSITIVITY
    assert float((engine(variant).run(job).latents - theirs).abs().max()) <= TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "another"},
        {"negative_prompt": ""},
        {"seed": 8},
        {"steps": 5},
        {"shift": 11.0},
        {"guidance_high": 4.5},
        {"guidance_low": 3.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_reaches_the_latents(change: dict[str, Any], engine: Engine) -> None:
    job = WanJob(prompt=PROMPT, width=32, height=32, frames=5, steps=4, seed=7, shift=6.0)
    before = engine("t2v").run(job).latents
    after = engine("t2v").run(replace(job, **change)).latents
    assert float((after - before).abs().max()) > 10 * TOLERANCE
