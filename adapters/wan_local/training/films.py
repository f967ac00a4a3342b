"""Scenes as tensors."""

from __future__ import annotations

import numpy as np
import torch

from adapters.wan_local.training.scenes import Scene, film, sample_scene


def sample_films(
    rng: np.random.Generator, count: int, size: int, frames: int, held_out: bool = False, two: float = 0.25
) -> tuple[list[Scene], torch.Tensor]:
    """Scenes, two actors in ``two`` of them, and their films: uint8 [count, 3, frames, size, size]."""
    scenes = [sample_scene(rng, held_out, two) for _ in range(count)]
    clips = np.stack([film(scene, rng, size, frames) for scene in scenes])
    return scenes, torch.from_numpy(clips).permute(0, 4, 1, 2, 3)


def to_pixels(clips: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in -1..1."""
    return clips.float() / 127.5 - 1
