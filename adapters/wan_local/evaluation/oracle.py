"""The oracle: does a clip show the scene that was asked for? No network has a say in it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import permutations

import numpy as np

from adapters.wan_local.evaluation.course import find_motion
from adapters.wan_local.evaluation.outline import find_shape
from adapters.wan_local.evaluation.sight import Clip, Patch, find_background, find_patches, is_cluttered
from adapters.wan_local.training.scenes import Actor, Scene


@dataclass(frozen=True)
class Seen:
    """One thing in a clip; None where it is none of those that have a name."""

    shape: str | None
    colour: str
    motion: str | None


@dataclass(frozen=True)
class Verdict:
    """What is right about a clip. With two actors an attribute is right if it is of both.

    ``colour`` is wrong also if there is anything beside the actors, be it in one frame.
    """

    colour: bool
    shape: bool
    motion: bool
    background: bool

    @property
    def all(self) -> bool:
        """Whether everything is right."""
        return all(astuple(self))


def look(clip: Clip) -> tuple[list[Seen], str | None]:
    """What ``clip`` [F, H, W, 3] shows, and its background."""
    return _name(find_patches(clip), len(clip)), find_background(clip)


def judge(clip: Clip, scene: Scene) -> Verdict:
    """Compare what ``clip`` [F, H, W, 3] shows with ``scene``, which took the whole clip.

    Who is who of two actors is settled in the clip's favour.
    """
    patches = find_patches(clip)
    right = find_background(clip) == scene.background
    if len(patches) < len(scene.actors):
        return Verdict(colour=False, shape=False, motion=False, background=right)
    alone = len(patches) == len(scene.actors) and not is_cluttered(clip, patches)
    verdicts = [
        Verdict(
            colour=alone and _same(chosen, scene.actors, "colour"),
            shape=_same(chosen, scene.actors, "shape"),
            motion=_same(chosen, scene.actors, "motion"),
            background=right,
        )
        for chosen in permutations(_name(patches, len(clip)), len(scene.actors))
    ]
    return max(verdicts, key=lambda verdict: sum(astuple(verdict)))


def first_frame_psnr(clip: Clip, image: Clip) -> float:
    """How well ``clip`` [F, H, W, 3] keeps the ``image`` [H, W, 3] that it starts from, in dB."""
    return psnr(clip[0], image)


def psnr(one: Clip, other: Clip) -> float:
    """Peak signal-to-noise ratio of two pictures or clips of one shape, in dB; infinite if they are equal."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def _name(patches: list[Patch], frames: int) -> list[Seen]:
    return [Seen(find_shape(patch), patch.colour, find_motion(patch, frames)) for patch in patches]


def _same(seen: tuple[Seen, ...], actors: tuple[Actor, ...], attribute: str) -> bool:
    return all(getattr(a, attribute) == getattr(b, attribute) for a, b in zip(seen, actors, strict=True))
