"""The training loop. It knows nothing of what it trains.

What step n draws depends on the seed and n alone, never on a generator's history, so a run that is stopped
and continued draws what one that was not does. Learning rate and curriculum follow the time that is given:
linear warm-up, then a cosine down to a tenth.
"""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from adapters.wan_local.training.optimizer import MatrixOptimizer

_WARM_UP = 100  # steps
_LONGEST_STEP = 5.0  # seconds counted at most: a process that was halted for a while loses none of its time
_SAVE_EVERY = 120.0
_SAY_EVERY = 20.0
_RECENT = 200  # steps that a reported loss is the mean of


class OtherSeed(ValueError):
    """A run cannot go on with a seed that it was not begun with."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a step may depend on besides the weights: its number, and the part of the time that is over."""

    step: int
    progress: float
    rng: np.random.Generator
    noise: torch.Generator


class Objective(Protocol):
    """What is trained."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The networks, by name; parameters that ask for no gradient are left alone."""
        ...

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        """A step's losses, scalars with a gradient; their sum goes down."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train.

    Attributes:
        seconds: of training, those of earlier runs with the same file included.
        seed: of everything that is drawn.
        rate: highest learning rate.
        ema: decay of the averaged weights, which are what comes out.
        device: where the networks are; drawn noise is made there.
    """

    seconds: float
    seed: int
    rate: float
    ema: float = 0.998
    device: str = "cpu"


def train(
    objective: Objective,
    plan: Plan,
    file: Path,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any] | None:
    """Train, going on from the state that an earlier run left in ``file``; SIGTERM and SIGINT save and stop.

    ``say`` hears how it goes, every now and then.

    Returns:
        The report, JSON, once the time is used up; the modules then hold the averaged weights. None if
        stopped before.

    Raises:
        FloatingPointError: a loss is not finite.
        OtherSeed: the run in ``file`` was begun with another.
    """
    run = _Run(objective, plan)
    if file.exists():
        run.load(file)
    with _asked_to_stop() as stop:
        before = saved = said = clock()
        while run.seconds < plan.seconds and not stop:
            run.step()
            now = clock()
            run.seconds += min(now - before, _LONGEST_STEP)
            before = now
            if now - said >= _SAY_EVERY:
                say(run.line())
                said = now
            if now - saved >= _SAVE_EVERY:
                run.save(file)
                saved = now
    run.save(file)
    if run.seconds < plan.seconds:
        return None
    run.put_average()
    return run.report()


class _Run:
    def __init__(self, objective: Objective, plan: Plan) -> None:
        self._objective, self._plan = objective, plan
        self._weights = {
            f"{name}.{path}": parameter
            for name, module in objective.modules.items()
            for path, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._average = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._optimizer = MatrixOptimizer(objective.modules.values(), plan.rate)
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        self._taken = 0
        self.seconds = 0.0

    def step(self) -> None:
        plan = self._plan
        progress = min(self.seconds / plan.seconds, 1.0)
        seed = (plan.seed, self._taken)
        noise = torch.Generator(plan.device).manual_seed(plan.seed * 1_000_003 + self._taken)
        draw = Draw(step=self._taken, progress=progress, rng=np.random.default_rng(seed), noise=noise)
        losses = self._objective.losses(draw)
        total = torch.stack(list(losses.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        if not math.isfinite(total.item()):
            raise FloatingPointError(f"the loss is {total.item()} at step {self._taken}")
        nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
        self._optimizer.step(plan.rate * self._rate(progress))
        self._taken += 1
        pull = 1 - min(plan.ema, self._taken / (self._taken + 10))
        torch._foreach_lerp_(list(self._average.values()), [w.detach() for w in self._weights.values()], pull)
        for name, loss in losses.items():
            self._recent[name].append(loss.item())

    def _rate(self, progress: float) -> float:
        warm = min(1.0, (self._taken + 1) / _WARM_UP)
        return warm * (0.55 + 0.45 * math.cos(math.pi * progress))

    def line(self) -> str:
        losses = "  ".join(f"{name} {loss:.4f}" for name, loss in self._losses().items())
        return f"step {self._taken}  {self.seconds / 60:.1f} of {self._plan.seconds / 60:.1f} min  {losses}"

    def report(self) -> dict[str, Any]:
        return {
            "steps": self._taken,
            "minutes": round(self.seconds / 60, 1),
            "seed": self._plan.seed,
            "parameters": sum(weight.numel() for weight in self._weights.values()),
            "losses": {name: round(loss, 5) for name, loss in self._losses().items()},
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {self._plan.device}",
            "torch": torch.__version__,
        }

    def _losses(self) -> dict[str, float]:
        return {name: sum(recent) / len(recent) for name, recent in self._recent.items()}

    def put_average(self) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self._average[name])

    def save(self, file: Path) -> None:
        """Replace ``file``; a run that dies meanwhile leaves the old or the new."""
        file.parent.mkdir(parents=True, exist_ok=True)
        recent = {name: list(losses) for name, losses in self._recent.items()}
        state = {
            "seed": self._plan.seed,
            "taken": self._taken,
            "seconds": self.seconds,
            "recent": recent,
        }
        tensors = {
            **{f"weights.{name}": weight.detach() for name, weight in self._weights.items()},
            **{f"average.{name}": weight for name, weight in self._average.items()},
            **{f"optimizer.{name}": tensor for name, tensor in self._optimizer.state().items()},
        }
        new = file.with_name(file.name + ".new")
        save_file(tensors, new, metadata={"state": json.dumps(state)})
        os.replace(new, file)

    def load(self, file: Path) -> None:
        optimizer = {}
        with safe_open(file, framework="pt") as kept, torch.no_grad():
            state = json.loads(kept.metadata()["state"])
            if state["seed"] != self._plan.seed:
                raise OtherSeed(
                    f"{file} was begun with seed {state['seed']}: go on with that, or remove it to begin anew"
                )
            for path in kept.keys():  # noqa: SIM118  # it is no mapping
                kind, name = path.split(".", 1)
                if kind == "optimizer":
                    optimizer[name] = kept.get_tensor(path)
                else:
                    (self._weights if kind == "weights" else self._average)[name].copy_(kept.get_tensor(path))
        self._optimizer.restore(optimizer)
        self._taken, self.seconds = state["taken"], state["seconds"]
        for name, losses in state["recent"].items():
            self._recent[name].extend(losses)


@contextmanager
def _asked_to_stop() -> Iterator[Sequence[int]]:
    """A list that is empty until the process is asked to stop."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
