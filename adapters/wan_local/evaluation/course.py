"""How a patch moves: its centre's and its area's course through the clip."""

from __future__ import annotations

import numpy as np

from adapters.wan_local.evaluation.sight import Floats, Patch

_RESTS = 0.11  # of the picture's side: a centre that stays within that much does not move
_GROWS = 1.3  # in length, over the clip
_STRAIGHT = 0.36  # the smaller of a straight motion's two ways, of the larger
_RETURNS = 0.5  # how near its beginning a bounce ends, of the way that it went
_SEEN = 0.6  # of all frames, and near both ends; less shows no motion


def find_motion(patch: Patch, frames: int) -> str | None:
    """The name of the motion in a clip of ``frames`` frames, or None if there is none of those known."""
    if len(patch.frames) < _SEEN * frames or patch.frames[0] > 1 or patch.frames[-1] < frames - 2:
        return None
    side = min(patch.cover.shape[1:])
    way = patch.centres / side
    reach = np.ptp(way, axis=0)
    if reach.max() <= _RESTS:
        return _in_place(np.sqrt(patch.areas))
    x, y = way[-1] - way[0]
    if abs(y) <= _RETURNS * reach[1] and reach[0] <= _STRAIGHT * reach[1]:
        return "bounce" if _dips(way[:, 1]) else None
    return _straight(x, y) if max(abs(x), abs(y)) > _RETURNS * reach.max() else None


def _in_place(lengths: Floats) -> str:
    growth = lengths[-2:].mean() / lengths[:2].mean()
    if growth >= _GROWS:
        return "grow"
    return "shrink" if growth <= 1 / _GROWS else "still"


def _dips(heights: Floats) -> bool:
    """Whether a bounce goes down, to the ground, and up again."""
    ends = (heights[0] + heights[-1]) / 2
    return bool(heights.max() - ends > ends - heights.min())


def _straight(x: float, y: float) -> str:
    if abs(y) <= _STRAIGHT * abs(x):
        return "right" if x > 0 else "left"
    if abs(x) <= _STRAIGHT * abs(y):
        return "down" if y > 0 else "up"
    return "diagonal"
