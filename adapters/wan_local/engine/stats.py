"""What a run did and what it took."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch

from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.official import Expert

Timed = Literal["text", "image", "high", "low", "preview", "decode", "encode"]
_STEPPING: tuple[Timed, ...] = ("high", "low", "preview")


@dataclass(kw_only=True)
class Stats:
    """Filled in while the job runs; ``seconds["decode"]`` grows as frames are taken.

    Attributes:
        job: what was made, every default filled in: sampling, size, frames, and the seed of the CPU
            generator that drew the noise.
        device: where.
        prompt_tokens: tokens of the prompt, end mark included.
        prompt_tokens_dropped: how many of them were over the limit of 512 and not read.
        resumed_at: the step that a checkpoint stood at; None without one.
        steps: denoising steps that each expert took in this run.
        forwards: transformer calls of each expert, conditional and unconditional.
        boundary_step: index of the first low-noise step (equal to the number of steps if none came); None
            with one expert.
        seconds: wall time of each stage that ran. "encode" is for a caller that writes a file to fill in.
        seconds_before: what the steps before ``resumed_at`` took, as their checkpoint says.
        peak_bytes: the most memory in use so far: on a GPU that torch allocated on it since the run began,
            elsewhere that the whole process ever held.
    """

    job: SettledJob
    device: torch.device
    prompt_tokens: int = 0
    prompt_tokens_dropped: int = 0
    resumed_at: int | None = None
    steps: dict[Expert, int] = field(default_factory=lambda: {"high": 0, "low": 0})
    forwards: dict[Expert, int] = field(default_factory=lambda: {"high": 0, "low": 0})
    boundary_step: int | None = None
    seconds: dict[Timed, float] = field(default_factory=dict)
    seconds_before: float = 0.0
    peak_bytes: int = 0

    @contextmanager
    def timed(self, stage: Timed) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``, and note the memory in use."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
            self.peak_bytes = max(self.peak_bytes, _peak_bytes(self.device))

    def stepping(self) -> float:
        """Seconds of the steps taken so far and of looking at them, those before a resumption included."""
        here = (self.seconds.get(stage, 0.0) for stage in _STEPPING)
        return self.seconds_before + sum(here)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


# Linux counts in KiB, macOS in bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
