"""What a run did and what it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from adapters.wan_local.engine.control import Stage
from adapters.wan_local.engine.official import Expert, Sampling


@dataclass(kw_only=True)
class Stats:
    """Filled in while the job runs; ``seconds["decode"]`` grows as frames are taken.

    Attributes:
        sampling: the numbers used, defaults filled in.
        seed: of the noise.
        prompt_tokens: tokens of the prompt, end mark included.
        prompt_tokens_dropped: how many of them were over the limit of 512 and not read.
        steps: denoising steps taken by each expert.
        forwards: transformer calls of each expert, conditional and unconditional.
        boundary_step: index of the first low-noise step (equal to the number of steps if none came); None
            with one expert.
        seconds: wall time of each stage that ran.
    """

    sampling: Sampling
    seed: int
    prompt_tokens: int = 0
    prompt_tokens_dropped: int = 0
    steps: dict[Expert, int] = field(default_factory=lambda: {"high": 0, "low": 0})
    forwards: dict[Expert, int] = field(default_factory=lambda: {"high": 0, "low": 0})
    boundary_step: int | None = None
    seconds: dict[Stage, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time spent inside to ``seconds[stage]``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
