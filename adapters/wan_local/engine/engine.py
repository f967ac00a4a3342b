"""The engine: a loaded model that makes clips, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from adapters.wan_local.engine.checkpoint import Checkpoint
from adapters.wan_local.engine.condition import Condition, make_condition
from adapters.wan_local.engine.control import Control, Frame, Unwatched, raise_if_cancelled
from adapters.wan_local.engine.decode import decode_frames
from adapters.wan_local.engine.denoise import Denoising
from adapters.wan_local.engine.errors import (
    CheckpointMismatch,
    UnsupportedJob,
    naming_out_of_memory,
    releasing,
)
from adapters.wan_local.engine.fingerprint import fingerprint
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.job import SettledJob, WanJob, settle
from adapters.wan_local.engine.latent_rgb import LatentRgb, latent_rgb
from adapters.wan_local.engine.latents import draw_noise, shape_of
from adapters.wan_local.engine.lora import hung_on
from adapters.wan_local.engine.model import WanModel, load_model
from adapters.wan_local.engine.progress import OnProgress, unheard
from adapters.wan_local.engine.schedule import Schedule, make_schedule
from adapters.wan_local.engine.stats import Stats
from adapters.wan_local.engine.text import encode_prompt

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True)
class WanResult:
    """A finished clip.

    Attributes:
        latents: normalised float32 [1, C, T, H, W], what the diffusers pipelines return for
            output_type="latent".
        frames: uint8 [H, W, 3] in order, decoded as they are taken, once.
        stats: what the run did; its decode time is complete when ``frames`` is exhausted.
    """

    latents: torch.Tensor
    frames: Iterator[Frame]
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class WanPreview:
    """The first steps of a clip.

    Attributes:
        latents: the finished clip's latents as the last step taken expects them (x0), [1, C, T, H, W].
        frames: those decoded: uint8 [H, W, 3] in order and full size, decoded as they are taken, once.
        checkpoint: from which ``WanEngine.run`` makes the clip without taking these steps again.
        stats: what the run did.
    """

    latents: torch.Tensor
    frames: Iterator[Frame]
    checkpoint: Checkpoint
    stats: Stats


class WanEngine:
    """One Wan 2.2 model. Runs one job at a time; frames of an earlier job may still be taken meanwhile."""

    def __init__(self, model: WanModel, *, batched_guidance: bool = False) -> None:
        self.model = model
        self._batched = batched_guidance
        self._latent_rgb: LatentRgb | None = None

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: str = "cpu",
        dtype: Literal["float32", "bfloat16"] = "float32",
        policy: Literal["auto"] = "auto",
        revision: str | None = None,
        *,
        batched_guidance: bool = False,
        on_progress: OnProgress | None = None,
    ) -> WanEngine:
        """Load a text-to-video, image-to-video or TI2V folder.

        Args:
            source: a folder in diffusers format, or a hub id.
            device: a torch device, such as "cpu" or "cuda:0".
            dtype: of the transformers and the text encoder; the VAE is float32 always.
            policy: where weights live. "auto", the only one so far, keeps everything on ``device``.
            revision: full commit hash; required for a hub id, unused for a folder.
            batched_guidance: take both halves of guidance in one batch: twice the activations, and faster
                where a clip is too small to fill the device. Equal up to rounding.
            on_progress: called with what is read ("hash", then each part's name), bytes done, bytes in all.

        Raises:
            FolderError: the folder is missing, damaged, unsafe, or of another model.
            OutOfMemory: the model does not fit on the device.
            ValueError: unknown dtype or policy, or a device that is not there.
        """
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype!r}: use one of {', '.join(_DTYPES)}")
        if policy != "auto":
            raise ValueError(f"policy {policy!r}: only 'auto' exists")
        try:
            where = torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device {device!r}: use 'cpu', or 'cuda:0' and the like") from error
        if where.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r}: this torch sees no GPU; use device='cpu'")
        folder = open_folder(source, revision)
        model = load_model(folder, where, _DTYPES[dtype], on_progress or unheard)
        return cls(model, batched_guidance=batched_guidance)

    def run(self, job: WanJob, control: Control | None = None, resume: Checkpoint | None = None) -> WanResult:
        """Make one clip.

        Whatever this raises, the engine stays as it was: the next job gives what it would give in a fresh
        process, and nothing of this one is kept.

        Args:
            resume: go on from there. The latents are those of an uninterrupted run bit for bit, in this
                process and in another on the same kind of machine with as many threads.

        Raises:
            UnsupportedJob: this model cannot do it.
            LoraError: one of the job's LoRAs cannot be used.
            CheckpointMismatch: ``resume`` is of another job, model or version.
            CheckpointDamaged: ``resume`` says of itself what cannot be.
            Cancelled: ``control`` said so.
            OutOfMemory: too large for the device.
        """
        control = control or Unwatched()
        settled = settle(job, self.model)
        stats = Stats(job=settled, device=self.model.device)
        with self._leaving_clean():
            latents = self._latents(settled, control, stats, resume)
        return WanResult(latents=latents, frames=self._frames(latents, control, stats), stats=stats)

    def preview(
        self,
        job: WanJob,
        steps: int,
        control: Control | None = None,
        resume: Checkpoint | None = None,
    ) -> WanPreview:
        """Take the first ``steps`` steps of ``job`` and show what they promise.

        Raises:
            UnsupportedJob: as :meth:`run`, or ``steps`` are not all high-noise ones, or all there are.
            CheckpointMismatch: as :meth:`run`, or ``resume`` is further on.
            LoraError, CheckpointDamaged, Cancelled, OutOfMemory: as :meth:`run`.
        """
        control = control or Unwatched()
        settled = settle(job, self.model)
        stats = Stats(job=settled, device=self.model.device)
        with self._leaving_clean():
            latents, checkpoint = self._prefix(settled, steps, control, stats, resume)
        frames = self._frames(latents, control, stats)
        return WanPreview(latents=latents, frames=frames, checkpoint=checkpoint, stats=stats)

    def check_resume(self, job: WanJob, checkpoint: Checkpoint) -> None:
        """See whether ``job`` can go on from ``checkpoint``; nothing is computed.

        Raises:
            UnsupportedJob, LoraError, CheckpointMismatch, CheckpointDamaged: as :meth:`run` would.
        """
        settled = settle(job, self.model)
        schedule = make_schedule(settled, self.model.device)
        self._check(checkpoint, settled, schedule, self._fingerprint(settled, schedule))

    @torch.no_grad()
    def _latents(
        self, job: SettledJob, control: Control, stats: Stats, resume: Checkpoint | None
    ) -> torch.Tensor:
        schedule = make_schedule(job, self.model.device)
        return self._denoise(job, schedule, len(schedule.experts), control, stats, resume).clean()

    @torch.no_grad()
    def _prefix(
        self, job: SettledJob, steps: int, control: Control, stats: Stats, resume: Checkpoint | None
    ) -> tuple[torch.Tensor, Checkpoint]:
        schedule = make_schedule(job, self.model.device)
        total = len(schedule.experts)
        most = min(schedule.steps["high"], total - 1)
        if not 1 <= steps <= most:
            may_be = f"they may be 1 to {most}" if most else "there are too few for any"
            raise UnsupportedJob(
                f"{steps} preview steps: of this job's {total} {may_be}; ask for fewer, or for more in all"
            )
        if resume is not None and resume.step > steps:
            raise CheckpointMismatch(
                f"the checkpoint is at step {resume.step}, and the preview ends at {steps}"
            )
        denoising = self._denoise(job, schedule, steps, control, stats, resume)
        return denoising.clean_so_far(), denoising.checkpoint(stats.stepping())

    def _denoise(
        self,
        job: SettledJob,
        schedule: Schedule,
        until: int,
        control: Control,
        stats: Stats,
        resume: Checkpoint | None,
    ) -> Denoising:
        """Take the steps up to number ``until``."""
        known = self._fingerprint(job, schedule)
        if resume is not None:
            # Before any work: encoding an image at 720p takes half a minute.
            self._check(resume, job, schedule, known)
            stats.resumed_at, stats.seconds_before = resume.step, resume.seconds
        with hung_on(self.model, job.loras):
            denoising = self._begin(job, schedule, known, control, stats)
            if resume is not None:
                denoising.resume(resume)
            denoising.run(until, control, stats)
        return denoising

    def _check(
        self, checkpoint: Checkpoint, job: SettledJob, schedule: Schedule, known: dict[str, str]
    ) -> None:
        checkpoint.check(known, len(schedule.experts), shape_of(self.model, job))

    def _begin(
        self, job: SettledJob, schedule: Schedule, known: dict[str, str], control: Control, stats: Stats
    ) -> Denoising:
        """Encode what steers the job, and draw its noise."""
        if job.boundary is not None:
            stats.boundary_step = schedule.steps["high"]
        raise_if_cancelled(control)
        with naming_out_of_memory("noise"):
            noise, generator = draw_noise(self.model, job)
        prompts = self._encode_text(job, schedule, control, stats)
        return Denoising(
            model=self.model,
            job=job,
            fingerprint=known,
            schedule=schedule,
            condition=self._encode_image(job, noise, control, stats),
            prompts=prompts,
            batched=self._batched,
            latents=noise,
            generator=generator,
            latent_rgb=self._map,
        )

    def _encode_text(
        self, job: SettledJob, schedule: Schedule, control: Control, stats: Stats
    ) -> tuple[torch.Tensor, ...]:
        guided = any(job.sampling.guidance(expert) != 1 for expert in schedule.experts)
        with stats.timed("text"), naming_out_of_memory("text"):
            prompt = encode_prompt(self.model, job.prompt)
            negative = (encode_prompt(self.model, job.negative_prompt).embeds,) if guided else ()
        stats.prompt_tokens, stats.prompt_tokens_dropped = prompt.tokens, prompt.dropped
        control.progress("text", 1, 1)
        return prompt.embeds, *negative

    def _encode_image(
        self, job: SettledJob, noise: torch.Tensor, control: Control, stats: Stats
    ) -> Condition:
        if job.image is None:
            return make_condition(self.model, job, noise)
        raise_if_cancelled(control)
        with stats.timed("image"), naming_out_of_memory("image"):
            condition = make_condition(self.model, job, noise)
        control.progress("image", 1, 1)
        return condition

    def _fingerprint(self, job: SettledJob, schedule: Schedule) -> dict[str, str]:
        return fingerprint(self.model, job, schedule, batched=self._batched)

    def _map(self) -> LatentRgb:
        if self._latent_rgb is None:
            self._latent_rgb = latent_rgb(self.model)
        return self._latent_rgb

    def _frames(self, latents: torch.Tensor, control: Control, stats: Stats) -> Iterator[Frame]:
        with releasing():
            yield from decode_frames(self.model.vae, latents, control, stats)

    @contextmanager
    def _leaving_clean(self) -> Iterator[None]:
        """Keep nothing of a job, however it ends."""
        if self.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.model.device)
        try:
            with releasing():
                yield
        finally:
            # The VAE's encoder keeps features of a clip that it did not finish: gigabytes at 720p.
            self.model.vae.clear_cache()
