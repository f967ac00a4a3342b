"""The denoising loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from adapters.wan_local.engine.condition import Condition
from adapters.wan_local.engine.control import Control, raise_if_cancelled
from adapters.wan_local.engine.errors import naming_out_of_memory
from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.official import Sampling
from adapters.wan_local.engine.schedule import Schedule
from adapters.wan_local.engine.stats import Stats


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What steers one job. Embeds are [1, 512, D]; ``negative`` is None if no expert has guidance over 1."""

    prompt: torch.Tensor
    negative: torch.Tensor | None
    condition: Condition
    sampling: Sampling


def denoise(
    model: WanModel, noise: torch.Tensor, schedule: Schedule, guide: Guide, control: Control, stats: Stats
) -> torch.Tensor:
    """Noise [1, C, T, H, W] to normalised latents of the same shape, float32.

    Raises:
        Cancelled: asked before every step.
        OutOfMemory: a forward did not fit.
    """
    latents = noise
    planned = schedule.steps
    for index, expert in enumerate(schedule.experts):
        raise_if_cancelled(control)
        with stats.timed(expert), naming_out_of_memory(expert):
            prediction = _predict(model, latents, schedule, index, guide, stats)
            t = schedule.solver.timesteps[index]
            latents = schedule.solver.step(prediction, t, latents, return_dict=False)[0]
            if model.device.type == "cuda":
                # Kernels are queued: without this, progress and cancel would run many steps ahead of the
                # device.
                torch.cuda.synchronize(model.device)
        stats.steps[expert] += 1
        control.progress(expert, stats.steps[expert], planned[expert])
    return guide.condition.finish(latents)


def _predict(
    model: WanModel, latents: torch.Tensor, schedule: Schedule, index: int, guide: Guide, stats: Stats
) -> torch.Tensor:
    """The guided velocity [1, C, T, H, W] at step ``index``."""
    expert = schedule.experts[index]
    transformer, scale = model.expert(expert), guide.sampling.guidance(expert)
    taken = guide.condition.model_input(latents).to(transformer.dtype)
    timestep = guide.condition.timestep(schedule.solver.timesteps[index])
    place = {
        "step_index": index,
        "sigma": float(schedule.solver.sigmas[index]),
        "num_inference_steps": len(schedule.experts),
    }

    def forward(name: str, embeds: torch.Tensor) -> torch.Tensor:
        stats.forwards[expert] += 1
        with transformer.cache_context(name, **place):
            velocity: torch.Tensor = transformer(taken, timestep, embeds, return_dict=False)[0]
            return velocity

    conditional = forward("cond", guide.prompt)
    if scale == 1 or guide.negative is None:
        return conditional
    unconditional = forward("uncond", guide.negative)
    return unconditional + scale * (conditional - unconditional)
