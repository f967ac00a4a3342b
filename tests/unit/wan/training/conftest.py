"""Training runs whose steps take a second each, and that may be stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adapters.wan_local.training.run import Draw, Objective, Plan, train


class _Stopping:
    """An objective during whose step number ``step`` the process is asked to stop."""

    def __init__(self, objective: Objective, step: int) -> None:
        self._objective, self._step = objective, step

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return self._objective.modules

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        if draw.step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._objective.losses(draw)


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., dict[str, Any] | None]:
    """``go(objective, steps, folder="run", stop_at=None)`` trains in a folder; a minute has 60 steps."""

    def train_for(
        objective: Objective, steps: int, folder: str = "run", stop_at: int | None = None
    ) -> dict[str, Any] | None:
        seconds = iter(range(1_000_000))
        plan = Plan(seconds=steps, seed=3, rate=0.02)
        asked = objective if stop_at is None else _Stopping(objective, stop_at)
        return train(asked, plan, tmp_path / folder, lambda line: None, lambda: float(next(seconds)))

    return train_for
