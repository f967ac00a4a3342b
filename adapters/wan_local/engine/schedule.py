"""Which timesteps a job visits, and which expert takes each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.official import Expert, Sampling


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One job's own solver (it keeps state between steps) and the expert of every step."""

    solver: UniPCMultistepScheduler | FlowMatchEulerDiscreteScheduler
    experts: tuple[Expert, ...]

    @property
    def steps(self) -> dict[Expert, int]:
        """How many steps each expert takes."""
        return {"high": self.experts.count("high"), "low": self.experts.count("low")}


def make_schedule(model: WanModel, sampling: Sampling) -> Schedule:
    """A fresh solver with its timesteps set, on the model's device."""
    solver = _unipc(model, sampling) if sampling.sampler == "unipc" else _euler(model, sampling)
    # Without a begin index the solver searches for the first timestep on the device, which costs a
    # synchronisation.
    solver.set_begin_index(0)
    boundary = None if model.boundary is None else model.boundary * solver.config.num_train_timesteps
    experts: tuple[Expert, ...] = tuple(
        "high" if boundary is None or t >= boundary else "low" for t in solver.timesteps.tolist()
    )
    return Schedule(solver=solver, experts=experts)


def _unipc(model: WanModel, sampling: Sampling) -> UniPCMultistepScheduler:
    # The folder's flow_shift is not the authors' (see official.py), and a folder repackaged with another
    # solver's config lacks the flow settings, without which UniPC silently solves a different equation.
    solver = UniPCMultistepScheduler.from_config(
        model.scheduler_config,
        flow_shift=sampling.shift,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
    )
    solver.set_timesteps(sampling.steps, device=model.device)
    return solver


def _euler(model: WanModel, sampling: Sampling) -> FlowMatchEulerDiscreteScheduler:
    solver = FlowMatchEulerDiscreteScheduler(shift=sampling.shift)
    # The class's own default starts from sigmas that are shifted already, shifts them again and ends near
    # zero. Distilled models were trained on the even grid below (LightX2V, and get_sampling_sigmas in
    # Wan2.2's fm_solvers.py).
    sigmas = np.linspace(1.0, 0.0, sampling.steps + 1)[:-1]
    solver.set_timesteps(sampling.steps, device=model.device, sigmas=sigmas)
    return solver
