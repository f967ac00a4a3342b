"""One clip to make, and whether a model can make it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

from PIL.Image import Image

from adapters.wan_local.engine.errors import UnsupportedJob
from adapters.wan_local.engine.official import DISTILLED, NEGATIVE_PROMPT, OFFICIAL, Family, Sampler, Sampling


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
        seed: of a CPU generator, as in diffusers, so a seed means the same noise on every device.
        guidance_high, guidance_low: classifier-free guidance of each expert; 1 skips the unconditional
            forward. A model without a second expert uses ``guidance_high`` and refuses ``guidance_low``.
        shift: bend of the noise schedule.
        sampler: "unipc", or "euler" for distilled folders.
        fast: the folder is distilled. Like ``sampler="euler"`` it replaces the official defaults by the
            distilled ones: 4 Euler steps, shift 5, no guidance.
    """

    prompt: str
    negative_prompt: str | None = None
    image: Image | None = None
    last_image: Image | None = None
    width: int = 832
    height: int = 480
    frames: int = 81
    steps: int | None = None
    seed: int = 0
    guidance_high: float | None = None
    guidance_low: float | None = None
    shift: float | None = None
    sampler: Sampler | None = None
    fast: bool = False

    @property
    def negative_text(self) -> str:
        """The negative prompt with its default filled in."""
        return NEGATIVE_PROMPT if self.negative_prompt is None else self.negative_prompt


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


def settle(job: WanJob, model: Limits) -> Sampling:
    """Check that ``model`` can do ``job`` and fill in its defaults.

    Raises:
        UnsupportedJob: it cannot; for sizes and frame counts the message names the nearest that fit.
    """
    _check_step("width", job.width, model.width_step)
    _check_step("height", job.height, model.height_step)
    _check_frames(job.frames, model.frame_step)
    _check_images(job, model.family)
    if not 0 <= job.seed < 2**63:
        raise UnsupportedJob(f"seed {job.seed}: from 0 to 2**63 - 1")
    if job.guidance_low is not None and model.boundary is None:
        raise UnsupportedJob("guidance_low: this model has one expert; use guidance_high alone")
    distilled = job.fast or job.sampler == "euler"
    defaults = DISTILLED if distilled else OFFICIAL[model.family].sampling
    asked = {field.name: getattr(job, field.name) for field in fields(Sampling)}
    sampling = Sampling(**{k: getattr(defaults, k) if v is None else v for k, v in asked.items()})
    _check_sampling(sampling)
    return sampling


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


def _check_images(job: WanJob, family: Family) -> None:
    if family == "t2v" and job.image is not None:
        raise UnsupportedJob("image: this folder is text-to-video only; use an image-to-video or TI2V folder")
    if family == "i2v" and job.image is None:
        raise UnsupportedJob("image: this folder is image-to-video and needs a first frame")
    if family != "i2v" and job.last_image is not None:
        raise UnsupportedJob("last_image: only image-to-video folders take a last frame")
    if job.last_image is not None and job.frames == 1:
        raise UnsupportedJob("last_image: a clip of 1 frame has no room for a last frame; use 5 or more")


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
