"""One clip to make, and whether a model can make it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol, get_args

from PIL.Image import Image

from adapters.wan_local.engine.errors import UnsupportedJob
from adapters.wan_local.engine.lora import WanLora
from adapters.wan_local.engine.official import (
    DISTILLED,
    NEGATIVE_PROMPT,
    OFFICIAL,
    Family,
    Sampler,
    Sampling,
    Speed,
)


@dataclass(frozen=True, kw_only=True)
class WanJob:
    """What to make. ``None`` means the model family's official default (see ``official.py``).

    Attributes:
        prompt: what the clip shows. At most 512 tokens are read; the rest is dropped and counted in the
            stats.
        negative_prompt: what it should not show; None is the official Chinese one, "" is none at all.
        image: first frame. Needed by image-to-video folders, optional for TI2V, refused by text-to-video.
            Stretched to the job's size: crop it first to keep its proportions.
        last_image: last frame, for image-to-video folders only.
        width, height: pixels; multiples of the VAE's scale times the patch (16, or 32 for TI2V).
        frames: 4n+1; see ``seconds_to_frames``.
        steps: denoising steps.
        seed: of a CPU generator, as in diffusers, so a seed means the same noise on every device. The
            authors' own code draws on the GPU: its seeds give other clips.
        guidance_high, guidance_low: classifier-free guidance of each expert; 1 skips the unconditional
            forward. A model without a second expert uses ``guidance_high`` and refuses ``guidance_low``.
        shift: bend of the noise schedule.
        boundary: the share of the 1000 timesteps from which on a step is the high-noise expert's; None is the
            folder's own. Refused by a model with one expert.
        sampler: "unipc", or "euler" for distilled folders.
        speed: "exact" samples as the authors do, with nothing approximated. "distilled" is for folders of
            few-step weights: 4 Euler steps, shift 5, no guidance, as ``sampler="euler"`` means too.
        loras: hung on the experts for this job alone.
    """

    prompt: str
    negative_prompt: str | None = None
    image: Image | None = None
    last_image: Image | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    steps: int | None = None
    seed: int = 0
    guidance_high: float | None = None
    guidance_low: float | None = None
    shift: float | None = None
    boundary: float | None = None
    sampler: Sampler | None = None
    speed: Speed = "exact"
    loras: tuple[WanLora, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SettledJob:
    """A job that its model can do, every default filled in; the fields mean what they do in ``WanJob``."""

    prompt: str
    negative_prompt: str
    image: Image | None
    last_image: Image | None
    width: int
    height: int
    frames: int
    seed: int
    sampling: Sampling
    boundary: float | None
    speed: Speed
    loras: tuple[WanLora, ...]


class Limits(Protocol):
    """What ``settle`` needs to know of a model."""

    @property
    def family(self) -> Family: ...
    @property
    def boundary(self) -> float | None: ...
    @property
    def width_step(self) -> int: ...
    @property
    def height_step(self) -> int: ...
    @property
    def frame_step(self) -> int: ...


def settle(job: WanJob, model: Limits) -> SettledJob:
    """Check that ``model`` can do ``job`` and fill in its defaults.

    Raises:
        UnsupportedJob: it cannot; for sizes and frame counts the message names the nearest that fit.
    """
    official = OFFICIAL[model.family]
    settled = SettledJob(
        prompt=job.prompt,
        negative_prompt=NEGATIVE_PROMPT if job.negative_prompt is None else job.negative_prompt,
        image=job.image,
        last_image=job.last_image,
        width=official.width if job.width is None else job.width,
        height=official.height if job.height is None else job.height,
        frames=official.frames if job.frames is None else job.frames,
        seed=job.seed,
        sampling=_sampling(job, official.sampling),
        boundary=model.boundary if job.boundary is None else job.boundary,
        speed=job.speed,
        loras=job.loras,
    )
    _check_step("width", settled.width, model.width_step)
    _check_step("height", settled.height, model.height_step)
    _check_frames(settled.frames, model.frame_step)
    _check_images(settled, model.family)
    if not 0 <= job.seed < 2**63:
        raise UnsupportedJob(f"seed {job.seed}: from 0 to 2**63 - 1")
    if job.guidance_low is not None and model.boundary is None:
        raise UnsupportedJob("guidance_low: this model has one expert; use guidance_high alone")
    _check_boundary(job, model)
    if job.speed not in get_args(Speed):
        raise UnsupportedJob(f"speed {job.speed!r}: use one of {', '.join(get_args(Speed))}")
    _check_sampling(settled.sampling)
    for lora in job.loras:
        _check_lora(lora, model)
    return settled


def _sampling(job: WanJob, official: Sampling) -> Sampling:
    defaults = DISTILLED if job.speed == "distilled" or job.sampler == "euler" else official
    asked = {field.name: getattr(job, field.name) for field in fields(Sampling)}
    return Sampling(**{k: getattr(defaults, k) if v is None else v for k, v in asked.items()})


def _check_step(name: str, value: int, step: int) -> None:
    if value > 0 and value % step == 0:
        return
    below = max(value // step, 1) * step
    nearest = f"{below} and {below + step}" if value > step else f"{step}"
    raise UnsupportedJob(
        f"{name} {value} does not fit: it has to be a multiple of {step}; nearest: {nearest}"
    )


def _check_frames(frames: int, step: int) -> None:
    if frames > 0 and frames % step == 1:
        return
    below = max(frames - 1, 0) // step * step + 1
    nearest = f"{below} and {below + step}" if frames > 0 else "1"
    raise UnsupportedJob(f"frames {frames} does not fit: it has to be {step}n+1; nearest: {nearest}")


def _check_images(job: SettledJob, family: Family) -> None:
    if family == "t2v" and job.image is not None:
        raise UnsupportedJob("image: this folder is text-to-video only; use an image-to-video or TI2V folder")
    if family == "i2v" and job.image is None:
        raise UnsupportedJob("image: this folder is image-to-video and needs a first frame")
    if family != "i2v" and job.last_image is not None:
        raise UnsupportedJob("last_image: only image-to-video folders take a last frame")
    if job.last_image is not None and job.frames == 1:
        raise UnsupportedJob("last_image: a clip of 1 frame has no room for a last frame; use 5 or more")


def _check_boundary(job: WanJob, model: Limits) -> None:
    if job.boundary is None:
        return
    if model.boundary is None:
        raise UnsupportedJob("boundary: this model has one expert, which takes every step")
    if not 0 <= job.boundary <= 1:
        raise UnsupportedJob(f"boundary {job.boundary}: from 0, all steps high-noise, to 1")


def _check_lora(lora: WanLora, model: Limits) -> None:
    if lora.high is None and lora.low is None:
        raise UnsupportedJob("loras: one has neither a file for the high-noise nor for the low-noise expert")
    if lora.low is not None and model.boundary is None:
        raise UnsupportedJob("loras: this model has one expert; give its file as high alone")
    if not math.isfinite(lora.weight):
        raise UnsupportedJob(f"loras: weight {lora.weight} is no number")


def _check_sampling(sampling: Sampling) -> None:
    if sampling.sampler not in ("unipc", "euler"):
        raise UnsupportedJob(f"sampler {sampling.sampler!r}: use 'unipc' or 'euler'")
    if sampling.steps < 1:
        raise UnsupportedJob(f"steps {sampling.steps}: at least 1")
    if not (math.isfinite(sampling.shift) and sampling.shift > 0):
        raise UnsupportedJob(f"shift {sampling.shift}: has to be a positive number")
    for name in ("guidance_high", "guidance_low"):
        value = getattr(sampling, name)
        if not (math.isfinite(value) and value >= 1):
            raise UnsupportedJob(f"{name} {value}: at least 1, which means no guidance")
