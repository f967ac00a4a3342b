"""The questions: scenes whose combinations were kept from training, said in words and filmed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.wan_local.evaluation.sight import Clip
from adapters.wan_local.training.captions import caption
from adapters.wan_local.training.scenes import Scene, film, sample_scene


@dataclass(frozen=True)
class Question:
    """A prompt, what it means, and one clip that would be right, uint8 [F, H, W, 3].

    Many clips are right: the prompt leaves place, size and pace open.
    """

    number: int
    scene: Scene
    prompt: str
    film: Clip


def ask(count: int, seed: int, size: int, frames: int) -> list[Question]:
    """The first ``count`` questions of ``seed``, on clips of ``size`` x ``size`` pixels."""
    return [_ask(number, np.random.default_rng([seed, number]), size, frames) for number in range(count)]


def _ask(number: int, rng: np.random.Generator, size: int, frames: int) -> Question:
    scene = sample_scene(rng, held_out=True)
    return Question(number, scene, caption(scene, rng), film(scene, rng, size, frames))
