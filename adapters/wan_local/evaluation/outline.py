"""Which shape a patch has: its frames laid over each other in one size, compared with drawn models.

Laying them over each other takes away what a single small, blurred frame leaves open.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adapters.wan_local.evaluation.sight import Floats, Patch
from adapters.wan_local.training.scenes import SHAPES

_REACH = 1.1  # from a shape's centre to the edge of the grid; the square root of its area is 1
_CELLS = 28
_FINE = 4  # points on a side of a cell
_BLURS = (0.0, 0.05, 0.1, 0.15)
_CORNERS = {"square": 4, "triangle": 3, "star": 5}
_NOTCH = 0.45  # of a star: the radius of its inner corners, of its outer ones
_UNLIKE = 0.2
"""The mean squared difference from a model, of the model's own mean square, beyond which nothing is alike."""


def find_shape(patch: Patch) -> str | None:
    """The name of the shape, or None if it resembles none."""
    seen = _overlaid(patch)
    away = {shape: min(_difference(seen, model) for model in _models(shape)) for shape in SHAPES}
    nearest = min(away, key=away.__getitem__)
    return nearest if away[nearest] <= _UNLIKE else None


def _difference(seen: Floats, model: Floats) -> float:
    return float(((seen - model) ** 2).sum() / (model**2).sum())


def _overlaid(patch: Patch) -> Floats:
    """The mean of all frames in one place and size, [cells, cells]; larger ones show more and weigh more."""
    scale = np.sqrt(patch.areas)[:, None]
    x, y = (patch.centres[:, axis, None] - 0.5 + scale * _axis(_CELLS) for axis in (0, 1))
    frames = [_sample(*one) for one in zip(patch.cover, x, y, strict=True)]
    mean: Floats = np.average(frames, axis=0, weights=patch.areas)
    return mean


def _sample(cover: Floats, x: Floats, y: Floats) -> Floats:
    """``cover`` [H, W] at the grid of columns ``x`` and rows ``y``, between pixels in proportion."""
    sampled: Floats = _weights(y, cover.shape[0]) @ cover @ _weights(x, cover.shape[1]).T
    return sampled


def _weights(points: Floats, pixels: int) -> Floats:
    """[points, pixels]: of each point, how much of each pixel it is made of; nothing outside."""
    weights: Floats = np.clip(1 - np.abs(points[:, None] - np.arange(pixels)), 0, 1)
    return weights


@cache
def _models(shape: str) -> tuple[Floats, ...]:
    """The shape on the grid, sharp and more and more blurred."""
    sharp = _draw(shape)
    return tuple(_blurred(sharp, blur) for blur in _BLURS)


def _axis(cells: int) -> Floats:
    """Middles of the grid's cells."""
    return (np.arange(cells) + 0.5) / cells * 2 * _REACH - _REACH


def _draw(shape: str) -> Floats:
    """How much of each cell a shape of area 1 covers."""
    points = _axis(_CELLS * _FINE)
    x, y = np.meshgrid(points, points)
    if shape == "circle":
        inside = np.hypot(x, y) <= np.sqrt(1 / np.pi)
    else:
        inside = _within(x, y, _polygon(shape))
    drawn: Floats = inside.reshape(_CELLS, _FINE, _CELLS, _FINE).mean(axis=(1, 3))
    return drawn


def _polygon(shape: str) -> Floats:
    """Corners of the shape of area 1 as (x, y), y downwards; a tip points up, a square lies flat."""
    corners = _CORNERS[shape]
    radii = np.array([1.0, _NOTCH] * corners if shape == "star" else [1.0] * corners)
    turn = 2 * np.pi * np.arange(len(radii)) / len(radii) + (np.pi / 4 if shape == "square" else 0)
    points = np.stack([radii * np.sin(turn), -radii * np.cos(turn)], axis=1)
    ahead = np.roll(points, -1, axis=0)
    area = np.abs(points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0]).sum() / 2
    corners_of_one: Floats = points / np.sqrt(area)
    return corners_of_one


def _within(x: Floats, y: Floats, corners: Floats) -> NDArray[np.bool_]:
    """Whether each point is inside the polygon: a ray from it crosses the outline an odd number of times."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x1, y1), (x2, y2) in pairwise([*corners, corners[0]]):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < x1 + (x2 - x1) * (y - y1) / (y2 - y1))
    return inside


def _blurred(model: Floats, sigma: float) -> Floats:
    if not sigma:
        return model
    cells = np.arange(_CELLS)
    kernel = np.exp(-(((cells[:, None] - cells) * 2 * _REACH / _CELLS / sigma) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    blurred: Floats = kernel @ model @ kernel.T
    return blurred
