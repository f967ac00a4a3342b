"""Random-weight Wan folders and engines on them, made once per test process."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adapters.wan_local.engine import Checkpoint, Frame, Stage, Step, WanEngine
from adapters.wan_local.tiny import Variant, write_tiny


class Watching:
    """A control that remembers what it heard, and cancels once it heard ``stop_at``.

    It keeps a checkpoint after each of the steps named in ``keep``, and pictures after those in ``look``.
    """

    def __init__(
        self,
        stop_at: tuple[Stage, int] | None = None,
        keep: Container[int] = (),
        look: Container[int] = (),
    ) -> None:
        self.heard: list[tuple[Stage, int, int]] = []
        self.stop_at = stop_at
        self.kept: dict[int, Checkpoint] = {}
        self.seen: dict[int, list[Frame]] = {}
        self._keep, self._look = keep, look

    def cancelled(self) -> bool:
        return self.stop_at is not None and self.stop_at in [(stage, done) for stage, done, _ in self.heard]

    def progress(self, stage: Stage, done: int, total: int) -> None:
        self.heard.append((stage, done, total))

    def stepped(self, step: Step) -> None:
        if step.done in self._keep:
            self.kept[step.done] = step.checkpoint()
        if step.done in self._look:
            self.seen[step.done] = step.pictures()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    """The folder of a variant; shared, so tests that damage one copy it first."""
    root = tmp_path_factory.mktemp("wan")

    @cache
    def folder(variant: Variant) -> Path:
        write_tiny(root / variant, variant)
        return root / variant

    return folder


@pytest.fixture(scope="session")
def engine(tiny: Callable[[Variant], Path]) -> Callable[[Variant], WanEngine]:
    """The engine of a variant; shared, so every test also checks that the ones before left it clean."""

    @cache
    def load(variant: Variant) -> WanEngine:
        return WanEngine.load(tiny(variant))

    return load


@pytest.fixture(scope="session")
def photo() -> Callable[[int], Image.Image]:
    """A noise picture of an odd size, by seed."""

    def make(seed: int) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture
def watch() -> Callable[..., Watching]:
    """Makes a control; ``watch(stop_at=("high", 2))`` cancels after the second high-noise step."""
    return Watching
