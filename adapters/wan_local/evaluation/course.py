"""How a patch moves: its centre's and its area's course through the clip."""

from __future__ import annotations

import numpy as np

from adapters.wan_local.evaluation.sight import Floats, Patch

_RESTS = 0.11  # of the picture's side: a centre that stays within that much does not move
_GROWS = 1.3  # in length, over the clip
_STRAIGHT = 0.36  # the smaller of a straight motion's two ways, of the larger
_RETURNS = 0.5  # how near its beginning a bounce ends, of the way that it went
_UNEVEN = 0.3  # how far a course may be from the even one, of its length
_STEADY = 1.4  # in length, the largest of the smallest: more is no mere change of place


def find_motion(patch: Patch, frames: int) -> str | None:
    """The name of the motion through all of a clip's ``frames``, or None if it is none of those known.

    What is at one end and then at the other has not moved: a course counts if it is near the even one.
    """
    if len(patch.frames) < frames:
        return None
    side = min(patch.cover.shape[1:])
    way, lengths = patch.centres / side, np.sqrt(patch.areas)
    reach = np.ptp(way, axis=0)
    if reach.max() <= _RESTS:
        return _in_place(lengths)
    if lengths.max() > _STEADY * lengths.min():
        return None
    x, y = way[-1] - way[0]
    if abs(y) <= _RETURNS * reach[1] and reach[0] <= _STRAIGHT * reach[1]:
        return "bounce" if _dips(way[:, 1]) else None
    return _straight(x, y) if _is_even(way) else None


def _in_place(lengths: Floats) -> str | None:
    growth = lengths[-2:].mean() / lengths[:2].mean()
    if max(growth, 1 / growth) < _GROWS:
        return "still" if lengths.max() <= _STEADY * lengths.min() else None
    if not _is_even(lengths[:, None]):
        return None
    return "grow" if growth > 1 else "shrink"


def _is_even(course: Floats) -> bool:
    """Whether ``course`` [F, n] is about where it would be at an even pace from its first to its last."""
    even = np.linspace(course[0], course[-1], len(course))
    away = np.linalg.norm(course - even, axis=1).max()
    return bool(away <= _UNEVEN * np.linalg.norm(course[-1] - course[0]))


def _dips(heights: Floats) -> bool:
    """Whether a bounce goes down, to the ground, and up again, once."""
    ends = (heights[0] + heights[-1]) / 2
    depth = heights.max() - ends
    if depth <= ends - heights.min():
        return False
    lowest = int(heights.argmax())
    back = _UNEVEN * depth
    return bool((np.diff(heights[: lowest + 1]) > -back).all() and (np.diff(heights[lowest:]) < back).all())


def _straight(x: float, y: float) -> str:
    if abs(y) <= _STRAIGHT * abs(x):
        return "right" if x > 0 else "left"
    if abs(x) <= _STRAIGHT * abs(y):
        return "down" if y > 0 else "up"
    return "diagonal"
