"""One clip on a loaded engine: the gateway's job in, an MP4 out."""

from __future__ import annotations

import hashlib
import json
import time

from adapters.wan_local._engines import Engines
from adapters.wan_local._options import PresetParams, read_sampling
from adapters.wan_local._pictures import read_picture
from adapters.wan_local._translate import in_the_gateways_words
from adapters.wan_local._weights import Weights
from adapters.wan_local.engine import (
    DISTILLED,
    OFFICIAL,
    Stage,
    Stats,
    WanEngine,
    WanJob,
    WanResult,
    seconds_to_frames,
)
from gateway.kit.video import write_mp4
from gateway.spec import Asset, Cancelled, Control, Device, Job, Note, Usage, parse_size

_TEXT_DONE, _IMAGE_DONE, _STEPS_DONE, _ALL_DONE = 3, 5, 85, 100


def render(job: Job, weights: Weights, engines: Engines, device: Device, control: Control) -> Asset:
    """Load what is not loaded, make the clip and write it as it is decoded.

    Raises: as :meth:`gateway.spec.LocalAdapter.render`.
    """
    wan_job = _wan_job(job, weights)
    if control.cancelled():
        raise Cancelled("The render was stopped before it started.")
    if not engines.holds(weights, device):
        control.progress("load", 0, _ALL_DONE)
    engine = engines.get(weights, device)
    began = time.perf_counter()
    path = control.folder / "clip.mp4"
    with in_the_gateways_words(weights.model):
        result = _run(engine, wan_job, control)
        write_mp4(path, result.frames, job.output.fps, metadata=_recipe(job, weights, wan_job, result.stats))
    used = max(1, round((time.perf_counter() - began) * 1000))
    return Asset(path=path, usage=Usage(device_ms=used), notes=_notes(job, result.stats))


class _Progress:
    """The engine's control: its stages as one count to 100 that never runs back."""

    def __init__(self, control: Control, steps: int) -> None:
        self.cancelled = control.cancelled
        self._report = control.progress
        self._steps = steps
        self._taken = 0

    def progress(self, stage: Stage, done: int, total: int) -> None:
        if stage == "text":
            self._report("text", _TEXT_DONE, _ALL_DONE)
        elif stage == "image":
            self._report("image", _IMAGE_DONE, _ALL_DONE)
        elif stage == "decode":
            share = (_ALL_DONE - _STEPS_DONE) * done // total
            self._report("decode", _STEPS_DONE + share, _ALL_DONE)
        else:
            self._taken += 1
            share = (_STEPS_DONE - _IMAGE_DONE) * self._taken // self._steps
            self._report("denoise", _IMAGE_DONE + share, _ALL_DONE)


def _run(engine: WanEngine, wan_job: WanJob, control: Control) -> WanResult:
    assert wan_job.steps is not None
    return engine.run(wan_job, _Progress(control, wan_job.steps))


def _wan_job(job: Job, weights: Weights) -> WanJob:
    fast = job.preset.fast and not weights.test
    usual = DISTILLED if fast else OFFICIAL[weights.variant].sampling
    sampling: PresetParams = read_sampling(job, usual_steps=usual.steps)
    width, height = parse_size(job.output.size)
    return WanJob(
        prompt=job.request.prompt,
        negative_prompt=job.request.negative_prompt,
        image=read_picture(job, "first_frame"),
        last_image=read_picture(job, "last_frame"),
        width=width,
        height=height,
        frames=seconds_to_frames(float(job.output.seconds), job.output.fps),
        seed=_seed(job),
        fast=fast,
        **sampling.model_dump(),
    )


def _seed(job: Job) -> int:
    """The caller's seed, else one by chance that stays when the attempt is run again."""
    if job.request.seed is not None:
        return job.request.seed
    return int.from_bytes(hashlib.sha256(job.tag.encode()).digest()[:4])


def _recipe(job: Job, weights: Weights, wan_job: WanJob, stats: Stats) -> dict[str, str]:
    """What made the clip, under the MP4's key ``recipe``; the prompt is the caller's and stays out."""
    sampling = stats.sampling
    recipe = {
        "model": job.offer.model,
        "preset": job.preset.name,
        "revision": weights.revision,
        "seed": stats.seed,
        "frames": wan_job.frames,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "shift": sampling.shift,
        "guidance_high": sampling.guidance_high,
        "guidance_low": sampling.guidance_low,
    }
    return {"recipe": json.dumps(recipe)}


def _notes(job: Job, stats: Stats) -> tuple[Note, ...]:
    notes = []
    if job.request.seed is None:
        notes.append(Note(code="seed_used", detail=f"no seed was given; this clip's is {stats.seed}"))
    if stats.prompt_tokens_dropped:
        read = stats.prompt_tokens - stats.prompt_tokens_dropped
        notes.append(
            Note(
                code="prompt_truncated",
                detail=f"the prompt has {stats.prompt_tokens} tokens; the model read the first {read}",
            )
        )
    return tuple(notes)
