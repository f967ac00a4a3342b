"""A model sits the exam: every question rendered by the engine as any other job is, and judged."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image

from adapters.wan_local.engine import UnsupportedJob, WanEngine, WanJob
from adapters.wan_local.engine.decode import decode_chunks, to_uint8
from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.evaluation.exam import Question
from adapters.wan_local.evaluation.oracle import Verdict, first_frame_psnr, judge
from adapters.wan_local.evaluation.sight import Clip

Experts = Literal["right", "swapped", "high", "low"]
OnDone = Callable[[int, int], None]
"""Called with how many questions are answered, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to sit the exam.

    Attributes:
        experts: who takes the high-noise and the low-noise steps: each its own, each the other's, or one all.
        boundary: where they change over; None is the folder's own.
        image: give the question's first frame along, as the clip's.
    """

    name: str
    experts: Experts = "right"
    boundary: float | None = None
    image: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A clip, uint8 [F, H, W, 3], and what is right of it. ``kept``: of a given first frame, PSNR in dB."""

    question: Question
    clip: Clip
    verdict: Verdict
    seconds: float
    kept: float | None


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """All answers of one arm. ``peak_bytes`` as in the engine's stats: on a CPU, of the process so far."""

    arm: Arm
    answers: tuple[Answer, ...]
    peak_bytes: int

    @property
    def seconds(self) -> float:
        """The median clip's, from the prompt to its last frame."""
        return statistics.median(answer.seconds for answer in self.answers)

    @property
    def kept(self) -> float | None:
        """The mean PSNR of first frames that were given, in dB."""
        kept = [answer.kept for answer in self.answers if answer.kept is not None]
        return statistics.fmean(kept) if kept else None


def sit(engine: WanEngine, job: WanJob, questions: Sequence[Question], arm: Arm, on_done: OnDone) -> Sitting:
    """Answer every question; question ``n`` is rendered with seed ``job.seed + n``.

    Args:
        job: size, frames and sampling; its prompt, image and boundary are the question's and the arm's.

    Raises:
        UnsupportedJob: the model cannot make such clips, or has one expert where the arm wants two.
    """
    arranged = _arranged(engine, arm.experts)
    answers, peak = [], 0
    for question in questions:
        asked = replace(
            job,
            prompt=question.prompt,
            seed=job.seed + question.number,
            image=Image.fromarray(question.film[0]) if arm.image else None,
            boundary=arm.boundary,
        )
        answer, used = _answer(arranged, asked, question)
        answers.append(answer)
        peak = max(peak, used)
        on_done(len(answers), len(questions))
    return Sitting(arm=arm, answers=tuple(answers), peak_bytes=peak)


def copy_out(engine: WanEngine, questions: Iterable[Question]) -> list[Clip]:
    """The questions' own films through the model's VAE and back: what it can show at best."""
    return [_round_trip(engine, question.film) for question in questions]


def threads() -> str:
    """What the seconds were measured on."""
    return f"{torch.get_num_threads()} torch threads on {os.cpu_count()} CPU cores"


def _answer(engine: WanEngine, job: WanJob, question: Question) -> tuple[Answer, int]:
    began = time.perf_counter()
    result = engine.run(job)
    clip = np.stack(list(result.frames))
    seconds = time.perf_counter() - began
    answer = Answer(
        question=question,
        clip=clip,
        verdict=judge(clip, question.scene),
        seconds=seconds,
        kept=None if job.image is None else first_frame_psnr(clip, question.film[0]),
    )
    return answer, result.stats.peak_bytes


def _arranged(engine: WanEngine, experts: Experts) -> WanEngine:
    """The engine with its experts in these places; the networks are shared."""
    high, low = engine.model.transformer, engine.model.transformer_2
    if experts == "right":
        return engine
    if low is None:
        raise UnsupportedJob(f"experts {experts!r}: this model has one expert")
    first, second = {"swapped": (low, high), "high": (high, high), "low": (low, low)}[experts]
    return WanEngine(replace(engine.model, transformer=first, transformer_2=second), batched_guidance=True)


@torch.no_grad()
def _round_trip(engine: WanEngine, film: Clip) -> Clip:
    vae = engine.model.vae
    pixels = torch.from_numpy(film).to(vae.device, vae.dtype).permute(3, 0, 1, 2)[None] / 127.5 - 1
    latents = normalise(vae, vae.encode(pixels).latent_dist.mode())
    return np.concatenate([to_uint8(chunk) for chunk in decode_chunks(vae, latents)])
