"""The denoising loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from adapters.wan_local.engine.checkpoint import Checkpoint
from adapters.wan_local.engine.condition import Condition
from adapters.wan_local.engine.control import Control, Frame, Step, raise_if_cancelled
from adapters.wan_local.engine.errors import naming_out_of_memory
from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.latent_rgb import LatentRgb
from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.official import Expert
from adapters.wan_local.engine.schedule import Schedule
from adapters.wan_local.engine.stats import Stats
from adapters.wan_local.engine.transformer import PromptedExpert


@dataclass(kw_only=True)
class Denoising:
    """A job whose prompt and images are encoded, between two steps.

    Attributes:
        latents: normalised float32 [1, C, T, H, W]; noise at first.
        generator: the CPU generator that drew the noise.
        prompts: embeds [1, 512, D], the unconditional one last; it is missing if no expert is guided.
        batched: both halves of guidance in one batch.
        done: how many steps are taken.
        latent_rgb: gets the map that pictures of the latents are made with.
    """

    model: WanModel
    job: SettledJob
    fingerprint: dict[str, str]
    schedule: Schedule
    condition: Condition
    prompts: tuple[torch.Tensor, ...]
    batched: bool
    latents: torch.Tensor
    generator: torch.Generator
    latent_rgb: Callable[[], LatentRgb]
    done: int = 0
    _active: tuple[Expert, PromptedExpert] | None = field(default=None, init=False)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Stand where ``checkpoint`` was taken, of this very work."""
        self.latents = checkpoint.latents.to(self.model.device, copy=True)
        self.generator.set_state(checkpoint.generator)
        self.schedule.restore(checkpoint.solver)
        self.done = checkpoint.step

    def checkpoint(self, seconds: float) -> Checkpoint:
        """This state; ``seconds`` of work are in it."""
        return Checkpoint(
            fingerprint=self.fingerprint,
            step=self.done,
            total=len(self.schedule.experts),
            seed=self.job.seed,
            seconds=seconds,
            latents=self.latents.to("cpu", copy=True),
            generator=self.generator.get_state(),
            solver=self.schedule.state(),
        )

    def run(self, until: int, control: Control, stats: Stats) -> None:
        """Take the steps up to number ``until``.

        Raises:
            Cancelled: asked before every step.
            OutOfMemory: a forward did not fit.
        """
        experts, planned = self.schedule.experts, self.schedule.steps
        while self.done < until:
            raise_if_cancelled(control)
            expert = experts[self.done]
            with stats.timed(expert), naming_out_of_memory(expert):
                self._step(expert, stats)
            stats.steps[expert] += 1
            control.progress(expert, experts[: self.done].count(expert), planned[expert])
            control.stepped(self._offer(expert, stats))

    def clean(self) -> torch.Tensor:
        """The clip's latents after the last step, [1, C, T, H, W]."""
        return self.condition.finish(self.latents)

    def clean_so_far(self) -> torch.Tensor:
        """What the clip's latents are expected to be after the steps taken, of which there is one."""
        assert self.schedule.expected is not None
        return self.condition.finish(self.schedule.expected)

    def _step(self, expert: Expert, stats: Stats) -> None:
        velocity = self._velocity(expert, stats)
        self.latents = self.schedule.step(self.done, velocity, self.latents, self.generator)
        self.done += 1
        if self.model.device.type == "cuda":
            # Kernels are queued: without this, progress and cancel would run many steps ahead of the device.
            torch.cuda.synchronize(self.model.device)

    def _velocity(self, expert: Expert, stats: Stats) -> torch.Tensor:
        """The guided velocity [1, C, T, H, W]."""
        scale = self.job.sampling.guidance(expert)
        guided = scale != 1 and len(self.prompts) == 2
        timesteps = self.condition.timesteps(self.schedule.solver.timesteps[self.done])
        noisy = self.condition.model_input(self.latents)
        found = self._prompted(expert).velocities(noisy, timesteps, 2 if guided else 1)
        stats.forwards[expert] += len(found)
        if not guided:
            return found[0]
        conditional, unconditional = found
        return unconditional + scale * (conditional - unconditional)

    def _prompted(self, expert: Expert) -> PromptedExpert:
        if self._active is None or self._active[0] != expert:
            transformer = self.model.expert(expert)
            self._active = expert, PromptedExpert(transformer, self.prompts, batched=self.batched)
        return self._active[1]

    def _offer(self, expert: Expert, stats: Stats) -> Step:
        def look() -> list[Frame]:
            with stats.timed("preview"), naming_out_of_memory("preview"):
                return self.latent_rgb().pictures(self.clean_so_far())

        return Step(
            done=self.done,
            total=len(self.schedule.experts),
            expert=expert,
            pictures=look,
            checkpoint=lambda: self.checkpoint(stats.stepping()),
        )
