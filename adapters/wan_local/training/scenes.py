"""Short films of coloured shapes, whose every fact is known: what Wan-nano is trained on and judged by.

A scene says what is seen; :func:`film` draws it, and jitters all it leaves open: place, size, pace. Positions
and lengths are fractions of the picture's side, y grows downwards, and a motion takes the whole clip.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "star")
MOTIONS = ("left", "right", "up", "down", "diagonal", "bounce", "still", "grow", "shrink")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (228, 26, 32),
    "green": (32, 200, 60),
    "blue": (40, 90, 255),
    "yellow": (255, 230, 30),
    "cyan": (30, 225, 235),
    "magenta": (235, 45, 220),
    "orange": (255, 130, 0),
    "white": (248, 248, 248),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "grey": (84, 84, 84),
    "navy": (14, 20, 76),
    "brown": (76, 46, 22),
    "purple": (62, 16, 84),
}

_EDGE = 0.02  # a shape keeps this far from the border
_TRIES = 60

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Actor:
    shape: str
    colour: str
    motion: str


@dataclass(frozen=True)
class Scene:
    """One or two actors of different colours before a plain background."""

    actors: tuple[Actor, ...]
    background: str


@dataclass(frozen=True)
class Track:
    """Where an actor is: ``centres`` [frames, 2] as x, y, and the ``radii`` [frames] of circles around it."""

    centres: Floats
    radii: Floats


def is_held_out(actor: Actor) -> bool:
    """Whether this combination of shape, colour and motion is kept from training: one in ten are."""
    return zlib.crc32(f"{actor.shape} {actor.colour} {actor.motion}".encode()) % 10 == 0


def sample_scene(rng: np.random.Generator, held_out: bool = False, two: float = 0.25) -> Scene:
    """Draw a scene.

    Args:
        rng: the same state gives the same scene.
        held_out: false for training: no actor is a held-out combination. True for judging: the first is.
        two: how often there are two actors.
    """
    actors = [_actor(rng, held_out)]
    if rng.random() < two:
        actors.append(_actor(rng, False, other_than=actors[0].colour))
    return Scene(tuple(actors), str(rng.choice(list(BACKGROUNDS))))


def _actor(rng: np.random.Generator, held_out: bool, other_than: str | None = None) -> Actor:
    while True:
        actor = Actor(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS))), str(rng.choice(MOTIONS)))
        if is_held_out(actor) == held_out and actor.colour != other_than:
            return actor


def film(scene: Scene, rng: np.random.Generator, size: int = 64, frames: int = 9) -> NDArray[np.uint8]:
    """Film a scene: uint8 [frames, size, size, 3], anti-aliased.

    Args:
        scene: what is seen.
        rng: draws what the scene leaves open; the same state gives the same film.
        size: side of the picture, in pixels.
        frames: length; every motion goes through its whole course in it.
    """
    picture = np.empty((frames, size, size, 3))
    picture[:] = BACKGROUNDS[scene.background]
    for actor, track in zip(scene.actors, place(scene, rng, frames), strict=True):
        cover = _coverage(actor.shape, track, size)[..., None]
        picture += cover * (np.array(COLOURS[actor.colour]) - picture)
    return np.rint(picture).astype(np.uint8)


def place(scene: Scene, rng: np.random.Generator, frames: int) -> list[Track]:
    """Choose the actors' tracks: of a few tries those that keep furthest apart."""
    largest = 0.24 if len(scene.actors) == 1 else 0.19
    best: list[Track] = []
    most = -math.inf
    for _ in range(_TRIES):
        tracks = [_track(actor.motion, rng, frames, largest) for actor in scene.actors]
        gap = _gap(tracks)
        if gap > most:
            best, most = tracks, gap
        if most >= 0:
            break
    return best


def _gap(tracks: list[Track]) -> float:
    if len(tracks) == 1:
        return math.inf
    one, two = tracks
    apart = np.linalg.norm(one.centres - two.centres, axis=1)
    return float((apart - one.radii - two.radii).min())


def _track(motion: str, rng: np.random.Generator, frames: int, largest: float) -> Track:
    clock = np.linspace(0.0, 1.0, frames)
    radius = rng.uniform(0.7, 1.0) * largest
    radii = np.full(frames, radius)
    if motion in ("grow", "shrink"):
        radii = np.interp(clock, (0, 1), (radius * rng.uniform(0.4, 0.5), max(radius, 0.85 * largest)))
        radii = radii if motion == "grow" else radii[::-1]
    way = _way(motion, rng, clock, room=1 - 2 * (radii.max() + _EDGE))
    low, high = way.min(axis=0), way.max(axis=0)
    margin = radii.max() + _EDGE
    start = rng.uniform(margin - low, 1 - margin - high)
    return Track(start + way, radii)


def _way(motion: str, rng: np.random.Generator, clock: Floats, room: float) -> Floats:
    """Displacement over time [frames, 2]; at most ``room`` long on each axis."""
    across, along = rng.uniform(0.6, 1.0, 2) * room
    still = np.zeros_like(clock)
    if motion == "bounce":  # falls freely, meets the ground half way, and comes back
        fall = 1 - (1 - np.abs(2 * clock - 1)) ** 2
        return np.stack([still, -along * fall], axis=1)
    step = {
        "left": (-across, 0.0),
        "right": (across, 0.0),
        "up": (0.0, -along),
        "down": (0.0, along),
        "diagonal": (across * rng.choice((-1, 1)), along * rng.choice((-1, 1))),
    }.get(motion, (0.0, 0.0))
    way: Floats = clock[:, None] * np.array(step)
    return way


def _coverage(shape: str, track: Track, size: int) -> Floats:
    """How much of each pixel a shape covers: [frames, size, size], 0 to 1."""
    pixels = (np.arange(size) + 0.5) / size
    x = pixels[None, None, :] - track.centres[:, 0, None, None]
    y = pixels[None, :, None] - track.centres[:, 1, None, None]
    radius = track.radii[:, None, None]
    inside = _depth(shape, x, y, radius)
    return np.clip(0.5 + inside * size, 0.0, 1.0)


def _depth(shape: str, x: Floats, y: Floats, radius: Floats) -> Floats:
    """Distance to the outline, positive inside; corners lie on the circle of ``radius``.

    Polygons are folded into the sector of one edge, so that each is a half plane.
    """
    length = np.hypot(x, y)
    if shape == "circle":
        return 0.85 * radius - length
    corners = {"square": 4, "triangle": 3, "star": 5}[shape]
    sector = 2 * math.pi / corners
    turn = np.arctan2(x, -y)  # from straight up, clockwise
    if shape == "square":
        turn = turn + sector / 2
    fold = np.abs(
        (turn + sector / 2) % sector - sector / 2
    )  # 0 at a corner, sector / 2 at its neighbour valley
    valley = 0.45 if shape == "star" else math.cos(sector / 2)
    tip, notch = np.array((1.0, 0.0)), valley * np.array((math.cos(sector / 2), math.sin(sector / 2)))
    edge = notch - tip
    normal = np.array((edge[1], -edge[0])) / np.linalg.norm(edge)
    depth: Floats = radius * normal[0] - length * (np.cos(fold) * normal[0] + np.sin(fold) * normal[1])
    return depth
