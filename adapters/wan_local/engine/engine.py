"""The engine: a loaded model that makes clips, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from adapters.wan_local.engine.condition import Condition, make_condition
from adapters.wan_local.engine.control import Control, Unwatched, raise_if_cancelled
from adapters.wan_local.engine.decode import Frame, decode_frames
from adapters.wan_local.engine.denoise import Guide, denoise
from adapters.wan_local.engine.errors import naming_out_of_memory
from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.job import WanJob, settle
from adapters.wan_local.engine.latents import draw_noise
from adapters.wan_local.engine.model import WanModel, load_model
from adapters.wan_local.engine.progress import OnProgress, unheard
from adapters.wan_local.engine.schedule import make_schedule
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


class WanEngine:
    """One Wan 2.2 model. Runs one job at a time; frames of an earlier job may still be taken meanwhile."""

    def __init__(self, model: WanModel) -> None:
        self.model = model

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: str = "cpu",
        dtype: Literal["float32", "bfloat16"] = "float32",
        policy: Literal["auto"] = "auto",
        revision: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> WanEngine:
        """Load a text-to-video, image-to-video or TI2V folder.

        Args:
            source: a folder in diffusers format, or a hub id.
            device: a torch device, such as "cpu" or "cuda:0".
            dtype: of the transformers and the text encoder; the VAE is float32 always.
            policy: where weights live. "auto", the only one so far, keeps everything on ``device``.
            revision: full commit hash; required for a hub id, unused for a folder.
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
        where = torch.device(device)
        if where.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r}: this torch sees no GPU; use device='cpu'")
        folder = open_folder(source, revision)
        return cls(load_model(folder, where, _DTYPES[dtype], on_progress or unheard))

    @torch.no_grad()
    def run(self, job: WanJob, control: Control | None = None) -> WanResult:
        """Make one clip.

        Whatever this raises, the engine stays as it was: the next job gives what it would give in a fresh
        process.

        Raises:
            UnsupportedJob: this model cannot do it.
            Cancelled: ``control`` said so.
            OutOfMemory: too large for the device.
        """
        control = control or Unwatched()
        sampling = settle(job, self.model)
        stats = Stats(sampling=sampling, seed=job.seed)
        raise_if_cancelled(control)
        with naming_out_of_memory("noise"):
            noise = draw_noise(self.model, job)
        schedule = make_schedule(self.model, sampling)
        if self.model.boundary is not None:
            stats.boundary_step = schedule.steps["high"]
        guided = any(sampling.guidance(expert) != 1 for expert in schedule.experts)
        prompt, negative = self._encode_text(job, stats, control, guided=guided)
        condition = self._encode_image(job, noise, stats, control)
        guide = Guide(prompt=prompt, negative=negative, condition=condition, sampling=sampling)
        latents = denoise(self.model, noise, schedule, guide, control, stats)
        frames = decode_frames(self.model.vae, latents, control, stats)
        return WanResult(latents=latents, frames=frames, stats=stats)

    def _encode_text(
        self, job: WanJob, stats: Stats, control: Control, *, guided: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        with stats.timed("text"), naming_out_of_memory("text"):
            prompt = encode_prompt(self.model, job.prompt)
            negative = encode_prompt(self.model, job.negative_text).embeds if guided else None
        stats.prompt_tokens, stats.prompt_tokens_dropped = prompt.tokens, prompt.dropped
        control.progress("text", 1, 1)
        return prompt.embeds, negative

    def _encode_image(self, job: WanJob, noise: torch.Tensor, stats: Stats, control: Control) -> Condition:
        if job.image is None:
            return make_condition(self.model, job, noise)
        raise_if_cancelled(control)
        try:
            with stats.timed("image"), naming_out_of_memory("image"):
                condition = make_condition(self.model, job, noise)
        finally:
            # The VAE's encoder keeps features of a clip it did not finish: gigabytes at 720p.
            self.model.vae.clear_cache()
        control.progress("image", 1, 1)
        return condition
