"""What a clip shows: patches of the named colours on a background, each followed through the frames.

A pixel on a shape's edge is a mixture of the shape's colour and the background's, and a VAE's blur makes
more of them. So a pixel is not compared with colours but with the lines from the background to each colour:
how far along it lies is how much of it the shape covers, how far beside it is how wrong the colour is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adapters.wan_local.training.scenes import BACKGROUNDS, COLOURS

Clip = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
T = TypeVar("T", np.bool_, np.int32)

_COVERED = 0.5  # from this coverage on a pixel belongs to a patch
_CORE = (
    0.7  # from this on it speaks for a colour: an edge may lie near another colour's line, its core does not
)
_OFF = 60.0  # RGB units; a background further from every named one is none of them
_GROUND = 0.65  # of each frame's pixels are nearest to the background's name; shapes cover a quarter at most
_SHARE = 0.1  # the part of all core pixels that a colour needs to be there
_SPECK = 10  # pixels; a smaller patch is none
_STAYS = 0.5  # the part of all frames that a patch needs to be in
_HALO = 2  # pixels around a patch are its own, whatever they look like


@dataclass(frozen=True)
class Patch:
    """A colour's largest connected patch in each frame where there is one.

    Attributes:
        colour: its name.
        frames: the frames' numbers, ascending; the rest has as many.
        cover: how much of each pixel it covers, [n, H, W] in 0..1.
        areas: pixels, [n].
        centres: of gravity as (x, y) in pixels, [n, 2].
    """

    colour: str
    frames: NDArray[np.int64]
    cover: Floats
    areas: Floats
    centres: Floats


def find_background(clip: Clip) -> str | None:
    """The name of the background of ``clip`` [F, H, W, 3]; None if it is none of the named ones all along."""
    named = np.array(list(BACKGROUNDS.values()), dtype=np.float32)
    away = np.linalg.norm(np.median(clip, axis=(1, 2))[:, None] - named, axis=2)
    found = {int(number) for number in away.argmin(axis=1)}
    if len(found) > 1 or away.min(axis=1).max() > _OFF:
        return None
    (number,) = found
    nearest = np.linalg.norm(clip[..., None, :] - named, axis=4).argmin(axis=3)
    even = (nearest == number).mean(axis=(1, 2)).min() >= _GROUND
    return list(BACKGROUNDS)[number] if even else None


def find_patches(clip: Clip) -> list[Patch]:
    """What lies on the background of ``clip`` [F, H, W, 3] for most of it: one patch a colour at most."""
    names = list(COLOURS)
    cover, beside = _project(clip, _ground(clip), np.array(list(COLOURS.values()), dtype=np.float64))
    nearest = beside.argmin(axis=0)
    counts = np.array([(cover[index][nearest == index] >= _CORE).sum() for index in range(len(names))])
    there = np.flatnonzero(counts > _SHARE * counts.sum())
    if not len(there):
        return []
    # The blurred edge between two colours looks like a third: it goes to one of those that are there.
    nearest = there[beside[there].argmin(axis=0)]
    found = [
        _follow(names[index], (nearest == index) & (cover[index] >= _COVERED), cover[index])
        for index in there
    ]
    return [patch for patch in found if len(patch.frames) >= _STAYS * len(clip)]


def is_cluttered(clip: Clip, patches: Sequence[Patch]) -> bool:
    """Whether any frame of ``clip`` has a thing that is none of ``patches``, or none of theirs alone."""
    cover, beside = _project(clip, _ground(clip), np.array(list(COLOURS.values()), dtype=np.float64))
    strange = np.take_along_axis(cover, beside.argmin(axis=0)[None], axis=0)[0] >= _COVERED
    for patch in patches:
        own = patch.cover > 0
        for _ in range(_HALO):
            own = _spread(own)
        strange[patch.frames] &= ~own
    return bool(largest_components(strange).sum(axis=(1, 2)).max() >= _SPECK)


def largest_components(mask: Mask) -> Mask:
    """Of each frame of ``mask`` [F, H, W] the largest 8-connected part alone."""
    labels = np.where(mask, np.arange(1, mask.size + 1, dtype=np.int32).reshape(mask.shape), 0)
    before = np.zeros_like(labels)
    while not np.array_equal(labels, before):
        before, labels = labels, np.where(mask, _spread(labels), 0)
    kept = np.zeros_like(mask)
    for one, largest in zip(labels, kept, strict=True):
        if one.any():
            values, counts = np.unique(one[one > 0], return_counts=True)
            largest |= one == values[counts.argmax()]
    return kept


def _ground(clip: Clip) -> Floats:
    """The background's colour: shapes cover less than half of a clip."""
    ground: Floats = np.median(clip.reshape(-1, 3), axis=0)
    return ground


def _project(clip: Clip, ground: Floats, colours: Floats) -> tuple[Floats, Floats]:
    """Every pixel's coverage by, and RGB distance from the line to, each colour: [colours, F, H, W] both."""
    offset = (clip.reshape(-1, 3) - ground).astype(np.float32)
    lines = (colours - ground).astype(np.float32)
    lengths = (lines**2).sum(axis=1, keepdims=True)
    dots = lines @ offset.T
    cover = (dots / lengths).clip(0, 1)
    squared = (offset**2).sum(axis=1) + cover * (cover * lengths - 2 * dots)
    shape = (len(colours), *clip.shape[:3])
    return cover.reshape(shape), np.sqrt(squared.clip(0)).reshape(shape)


def _follow(colour: str, mask: Mask, cover: Floats) -> Patch:
    body = largest_components(mask)
    soft = np.where(_spread(body), cover, 0.0)  # with the ring of pixels that are covered in part
    areas = soft.sum(axis=(1, 2))
    frames = np.flatnonzero(body.any(axis=(1, 2)) & (areas >= _SPECK))
    soft, areas = soft[frames], areas[frames]
    y, x = np.indices(soft.shape[1:]) + 0.5
    centres = np.stack([(soft * x).sum(axis=(1, 2)), (soft * y).sum(axis=(1, 2))], axis=1) / areas[:, None]
    return Patch(colour, frames, soft, areas, centres)


def _spread(values: NDArray[T]) -> NDArray[T]:
    """Each pixel takes the largest value of itself and its eight neighbours; [F, H, W]."""
    tall = values.copy()
    np.maximum(tall[:, 1:], values[:, :-1], out=tall[:, 1:])
    np.maximum(tall[:, :-1], values[:, 1:], out=tall[:, :-1])
    wide = tall.copy()
    np.maximum(wide[:, :, 1:], tall[:, :, :-1], out=wide[:, :, 1:])
    np.maximum(wide[:, :, :-1], tall[:, :, 1:], out=wide[:, :, :-1])
    return wide
