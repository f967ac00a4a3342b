"""Which timesteps a job visits, which expert takes each, and the solver that walks them.

The switch between the experts is by timestep: a step whose timestep is at least boundary * 1000 is the
high-noise expert's. The authors state the rule by signal-to-noise ratio (Wan2.2 README, "MoE Architecture",
and assets/moe_2.png): the ratio falls steadily as t grows, and the switch is the timestep at which it is half
of SNR_min, the ratio where noise is greatest, on the figure's logarithmic axis. Nothing in their code derives
the number from that: wan/configs/wan_{t2v,i2v}_A14B.py hold the constants 0.875 and 0.900, which
wan/{text2video,image2video}.py multiply by num_train_timesteps and compare with t, as is done here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.official import Expert

TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True)
class SolverState:
    """What a solver remembers between two steps; tensors on the CPU."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, int]


@dataclass(kw_only=True)
class Schedule:
    """One job's own solver (it keeps state between steps) and the expert of every step.

    ``expected`` [1, C, T, H, W] are the clean latents (x0) that the last step foresaw; None before the first.
    """

    solver: UniPCMultistepScheduler | FlowMatchEulerDiscreteScheduler
    experts: tuple[Expert, ...]
    expected: torch.Tensor | None = None

    @property
    def steps(self) -> dict[Expert, int]:
        """How many steps each expert takes."""
        return {"high": self.experts.count("high"), "low": self.experts.count("low")}

    def step(
        self, index: int, velocity: torch.Tensor, latents: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """The latents after step ``index``: [1, C, T, H, W], as ``velocity`` and ``latents`` are."""
        t = self.solver.timesteps[index]
        if isinstance(self.solver, UniPCMultistepScheduler):
            stepped: torch.Tensor = self.solver.step(velocity, t, latents, return_dict=False)[0]
            self.expected = self.solver.model_outputs[-1]
        else:
            self.expected = latents - self.solver.sigmas[index] * velocity
            stepped = self.solver.step(velocity, t, latents, generator=generator, return_dict=False)[0]
        return stepped

    def state(self) -> SolverState:
        """What the steps still to come depend on, besides the latents, and what the last one foresaw."""
        numbers = {"_step_index": self.solver.step_index}
        kept = {"expected": self.expected}
        if isinstance(self.solver, UniPCMultistepScheduler):
            numbers |= {name: getattr(self.solver, name) for name in _UNIPC_NUMBERS}
            kept = {"last_sample": self.solver.last_sample}
            for name in _UNIPC_HISTORIES:
                kept |= {f"{name}.{place}": item for place, item in enumerate(getattr(self.solver, name))}
        tensors = {name: item.to("cpu", copy=True) for name, item in kept.items() if item is not None}
        return SolverState(tensors=tensors, numbers=numbers)

    def restore(self, state: SolverState) -> None:
        """Make a fresh solver what the one was that ``state`` came from."""

        def kept(name: str) -> torch.Tensor | None:
            item = state.tensors.get(name)
            return None if item is None else item.to(self.solver.timesteps.device, copy=True)

        self.solver._step_index = state.numbers["_step_index"]
        self.expected = kept("expected")
        if isinstance(self.solver, UniPCMultistepScheduler):
            for name in _UNIPC_NUMBERS:
                setattr(self.solver, name, state.numbers[name])
            self.solver.last_sample = kept("last_sample")
            for name in _UNIPC_HISTORIES:
                places = range(self.solver.config.solver_order)
                setattr(self.solver, name, [kept(f"{name}.{place}") for place in places])
            self.expected = self.solver.model_outputs[-1]


# What UniPCMultistepScheduler.step of diffusers 0.42 reads of the steps before.
_UNIPC_NUMBERS = ("lower_order_nums", "this_order")
_UNIPC_HISTORIES = ("model_outputs", "timestep_list")


def make_schedule(job: SettledJob, device: torch.device) -> Schedule:
    """A fresh solver with its timesteps set."""
    solver = _unipc(job, device) if job.sampling.sampler == "unipc" else _euler(job, device)
    # Without a begin index the solver searches for the first timestep on the device, which costs a
    # synchronisation.
    solver.set_begin_index(0)
    boundary = None if job.boundary is None else job.boundary * TRAIN_TIMESTEPS
    experts: tuple[Expert, ...] = tuple(
        "high" if boundary is None or t >= boundary else "low" for t in solver.timesteps.tolist()
    )
    return Schedule(solver=solver, experts=experts)


def _unipc(job: SettledJob, device: torch.device) -> UniPCMultistepScheduler:
    # Nothing of it comes from the folder's scheduler file: its flow_shift is not the authors' (official.py),
    # and one that was packaged with another solver's settings would solve a different equation.
    solver = UniPCMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=job.sampling.shift,
    )
    solver.set_timesteps(job.sampling.steps, device=device)
    return solver


def _euler(job: SettledJob, device: torch.device) -> FlowMatchEulerDiscreteScheduler:
    steps = job.sampling.steps
    solver = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS, shift=job.sampling.shift)
    # The class's own default starts from sigmas that are shifted already, shifts them again and ends near
    # zero. Distilled models were trained on the even grid below (LightX2V, and get_sampling_sigmas in
    # Wan2.2's fm_solvers.py).
    solver.set_timesteps(steps, device=device, sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
    return solver


def describe(schedule: Schedule) -> dict[str, Any]:
    """The schedule as JSON: two with the same description take the same steps."""
    solver = schedule.solver
    settings = {name: value for name, value in solver.config.items() if not name.startswith("_")}
    return {
        "solver": type(solver).__name__,
        "settings": settings,
        "timesteps": solver.timesteps.tolist(),
        "experts": list(schedule.experts),
    }
