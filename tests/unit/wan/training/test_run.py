"""The training loop: it goes on where it was stopped, and its steps do not depend on when that was."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adapters.wan_local.training.run import Draw, OtherSeed, Plan, train

Go = Callable[..., dict[str, Any] | None]


class Copying:
    """Learn to copy what is drawn. One parameter asks for no gradient."""

    def __init__(self, factor: float = 1.0) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 6))
        self.network[0].bias.requires_grad_(False)
        self.steps: list[int] = []
        self._factor = factor

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"network": self.network}

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        self.steps.append(draw.step)
        wanted = torch.randn(16, 6, generator=draw.noise) + float(draw.rng.normal())
        return {"miss": self._factor * ((self.network(wanted) - wanted) ** 2).mean()}


def weights(objective: Copying) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in objective.network.state_dict().items()}


def loss(objective: Copying) -> float:
    noise = torch.Generator().manual_seed(0)
    draw = Draw(step=0, progress=0.0, rng=np.random.default_rng(0), noise=noise)
    return objective.losses(draw)["miss"].item()


def test_a_run_that_was_stopped_takes_the_same_steps(go: Go) -> None:
    whole, first, second = Copying(), Copying(), Copying()
    report = go(whole, 30, "whole")
    assert go(first, 30, "parts", stop_at=10) is None
    assert go(second, 30, "parts") == report
    assert report is not None
    assert report["steps"] == 30
    assert (*first.steps, *second.steps) == (*range(30),)
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(second)[name]), name


def test_the_loss_goes_down_and_the_average_comes_out(go: Go, tmp_path: Path) -> None:
    objective = Copying()
    before, frozen = loss(objective), weights(objective)["0.bias"]
    go(objective, 150)
    assert loss(objective) < 0.5 * before
    kept = load_file(tmp_path / "run.safetensors")
    came_out = weights(objective)["1.weight"]
    assert torch.equal(came_out, kept["average.network.1.weight"])
    assert not torch.equal(came_out, kept["weights.network.1.weight"])
    assert torch.equal(weights(objective)["0.bias"], frozen)


def test_more_time_continues_a_run_that_was_through(go: Go) -> None:
    first, same, longer = Copying(), Copying(), Copying()
    report = go(first, 10)
    assert go(same, 10) == report
    assert same.steps == []
    assert torch.equal(weights(same)["1.weight"], weights(first)["1.weight"])
    go(longer, 15)
    assert longer.steps == [*range(10, 15)]


def test_a_run_goes_on_with_its_own_seed_alone(go: Go, tmp_path: Path) -> None:
    go(Copying(), 4)
    with pytest.raises(OtherSeed, match=r"run\.safetensors was begun with seed 3"):
        train(Copying(), Plan(seconds=9, seed=4, rate=0.1), tmp_path / "run.safetensors", print)


def test_a_loss_that_is_no_number_ends_it(go: Go, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="step 0"):
        go(Copying(factor=float("nan")), 5)
    assert not [*tmp_path.iterdir()]


def test_the_signals_are_handled_as_before(go: Go) -> None:
    before = signal.getsignal(signal.SIGTERM)
    go(Copying(), 2)
    assert signal.getsignal(signal.SIGTERM) is before
