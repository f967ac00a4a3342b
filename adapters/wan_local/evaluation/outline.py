"""Which shape a patch has: its frames laid over each other, unrolled around the centre, compared with models.

Blur takes a shape's corners long before it takes their number: a star that a VAE made a soft blob of bulges
five times around all the same. So what tells shapes apart is not how far a patch is from each model, which is
mostly how blurred it is, but which model's bulges it has; it is a circle if it has none to speak of.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adapters.wan_local.evaluation.sight import Floats, Patch

_RADII = (np.arange(16) + 0.5) / 16 * 1.1  # the square root of the shape's area is 1
_TURNS = 2 * np.pi * np.arange(60) / 60  # clockwise from straight up
_BLURS = (0.04, 0.08, 0.12, 0.16, 0.2)
_CORNERS = {"square": 4, "triangle": 3, "star": 5}
_NOTCH = 0.45  # of a star: the radius of its inner corners, of its outer ones
_BULGES = 0.045
"""The part of all that is seen which bulges have to be: blurred circles had up to 0.037, squares 0.055 and
more."""
_UNLIKE = 0.35
"""How far from its nearest model nothing is alike, as part of its own size; blurred stars were up to 0.23."""
_SIDE, _PIXELS = 40.0, 128  # of a model: the square root of its area, and the picture that it is drawn in


def find_shape(patch: Patch) -> str | None:
    """The name of the shape, or None if it resembles none."""
    frames = [_unrolled(*one) for one in zip(patch.cover, patch.areas, patch.centres, strict=True)]
    seen: Floats = np.average(frames, axis=0, weights=patch.areas)  # larger ones show more
    size = np.linalg.norm(seen)
    strengths = {
        shape: max(float((seen * _bulges(model)).sum() / size) for model in _models(shape))
        for shape in _CORNERS
    }
    strongest = max(strengths, key=strengths.__getitem__)
    shape = strongest if strengths[strongest] >= _BULGES else "circle"
    away = min(float(np.linalg.norm(seen - model) / size) for model in _models(shape))
    return shape if away <= _UNLIKE else None


def _unrolled(cover: Floats, area: float, centre: Floats) -> Floats:
    """``cover`` [H, W] by radius, in units of the shape's size, and turn; longer rings count more."""
    radii = np.sqrt(area) * _RADII[:, None]
    x = (centre[0] - 0.5 + radii * np.sin(_TURNS)).ravel()
    y = (centre[1] - 0.5 - radii * np.cos(_TURNS)).ravel()
    unrolled: Floats = _between(cover, x, y).reshape(len(_RADII), len(_TURNS)) * np.sqrt(_RADII)[:, None]
    return unrolled


def _between(cover: Floats, x: Floats, y: Floats) -> Floats:
    """``cover`` [H, W] at points between its pixels, [n]: in proportion, and nothing outside."""
    around = np.pad(cover, 1)
    x, y = (np.clip(v + 1, 0, side + 0.999) for v, side in zip((x, y), cover.shape[::-1], strict=True))
    left, top = x.astype(int), y.astype(int)
    right, bottom = x - left, y - top
    upper = around[top, left] * (1 - right) + around[top, left + 1] * right
    lower = around[top + 1, left] * (1 - right) + around[top + 1, left + 1] * right
    between: Floats = upper * (1 - bottom) + lower * bottom
    return between


def _bulges(unrolled: Floats) -> Floats:
    """What is not the same all around, of length 1."""
    around = unrolled - unrolled.mean(axis=1, keepdims=True)
    bulges: Floats = around / np.linalg.norm(around)
    return bulges


@cache
def _models(shape: str) -> tuple[Floats, ...]:
    """The shape unrolled, more and more blurred."""
    sharp = _draw(shape)
    y, x = np.indices(sharp.shape) + 0.5
    models = []
    for blur in _BLURS:
        cover = _blurred(sharp, blur * _SIDE)
        area = float(cover.sum())
        centre = np.array([(cover * x).sum(), (cover * y).sum()]) / area
        models.append(_unrolled(cover, area, centre))
    return tuple(models)


def _draw(shape: str) -> Floats:
    points = (np.arange(_PIXELS) + 0.5 - _PIXELS / 2) / _SIDE
    x, y = np.meshgrid(points, points)
    inside = np.hypot(x, y) <= np.sqrt(1 / np.pi) if shape == "circle" else _within(x, y, _polygon(shape))
    return inside.astype(np.float64)


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


def _blurred(cover: Floats, sigma: float) -> Floats:
    """``cover`` [H, W] with a Gaussian of ``sigma`` pixels."""
    pixels = np.arange(len(cover))
    kernel = np.exp(-(((pixels[:, None] - pixels) / sigma) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    blurred: Floats = kernel @ cover @ kernel.T
    return blurred
