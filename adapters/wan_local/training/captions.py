"""What is said of a scene: plain English from a small grammar, lower case.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from adapters.wan_local.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, Actor, Scene

_SHAPES = {
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
}
_COLOURS = {"cyan": ("cyan", "cyan", "turquoise"), "magenta": ("magenta", "magenta", "pink")}
_BACKGROUNDS = {"grey": ("grey", "grey", "gray")}
# The first is the plain one. In pairs: what the actor is doing, what it does.
_MOTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "left": (
        ("moving left", "moves left"),
        ("moving to the left", "moves to the left"),
        ("going left", "goes left"),
        ("sliding left", "slides left"),
        ("drifting towards the left", "drifts towards the left"),
    ),
    "right": (
        ("moving right", "moves right"),
        ("moving to the right", "moves to the right"),
        ("going right", "goes right"),
        ("sliding right", "slides right"),
        ("drifting towards the right", "drifts towards the right"),
    ),
    "up": (
        ("moving up", "moves up"),
        ("going up", "goes up"),
        ("rising", "rises"),
        ("moving upwards", "moves upwards"),
    ),
    "down": (
        ("moving down", "moves down"),
        ("going down", "goes down"),
        ("sinking", "sinks"),
        ("moving downwards", "moves downwards"),
    ),
    "diagonal": (
        ("moving diagonally", "moves diagonally"),
        ("going diagonally", "goes diagonally"),
        ("sliding diagonally", "slides diagonally"),
        ("moving along a diagonal", "moves along a diagonal"),
    ),
    "bounce": (
        ("bouncing", "bounces"),
        ("bouncing up and down", "bounces up and down"),
        ("dropping and bouncing back", "drops and bounces back"),
    ),
    "still": (
        ("standing still", "stands still"),
        ("staying still", "stays still"),
        ("not moving", "does not move"),
        ("at rest", "rests"),
    ),
    "grow": (
        ("growing", "grows"),
        ("getting bigger", "gets bigger"),
        ("getting larger", "gets larger"),
    ),
    "shrink": (
        ("shrinking", "shrinks"),
        ("getting smaller", "gets smaller"),
    ),
}
_DOING = (
    "{actors} on a {background} background",
    "{actors} over a {background} background",
    "{actors} against a {background} background",
    "{actors} on {background}",
    "on a {background} background, {actors}",
    "a clip of {actors} on a {background} background",
    "a short video of {actors} on a {background} background",
)
_DOES = (
    "{actors} on a {background} background",
    "{actors} against a {background} background",
    "on a {background} background, {actors}",
    "the background is {background} and {actors}",
)
_JOINED = ("{} and {}", "{} and {}", "{} while {}", "{}, {}")


def plain(scene: Scene) -> str:
    """The plainest caption: ``a red circle moving right on a black background``."""
    actors = " and ".join(
        f"{_article(actor.colour)} {actor.shape} {_MOTIONS[actor.motion][0][0]}" for actor in scene.actors
    )
    return f"{actors} on a {scene.background} background"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of the many ways to say a scene."""
    doing = rng.random() < 0.6
    actors = [_clause(actor, doing, rng) for actor in scene.actors]
    said = actors[0] if len(actors) == 1 else str(rng.choice(_JOINED)).format(*actors)
    background = _synonym(_BACKGROUNDS, scene.background, rng)
    return str(rng.choice(_DOING if doing else _DOES)).format(actors=said, background=background)


def words() -> list[str]:
    """Every word the grammar can say, sorted."""
    templates = " ".join((*_DOING, *_DOES, *_JOINED)).format
    said = [templates(*[""] * 8, actors="", background=""), "a an"]
    said += [*SHAPES, *COLOURS, *BACKGROUNDS]
    for synonyms in (*_SHAPES.values(), *_COLOURS.values(), *_BACKGROUNDS.values()):
        said += synonyms
    for motion in MOTIONS:
        said += [phrase for pair in _MOTIONS[motion] for phrase in pair]
    return sorted(set(" ".join(said).replace(",", " ").split()))


def names() -> list[str]:
    """The words a shape or a colour can be named by. A clause has one of a colour, then one of a shape."""
    named = [*SHAPES, *COLOURS]
    for synonyms in (*_SHAPES.values(), *_COLOURS.values()):
        named += synonyms
    return sorted(set(named))


def _clause(actor: Actor, doing: bool, rng: np.random.Generator) -> str:
    colour = _synonym(_COLOURS, actor.colour, rng)
    shape = _synonym(_SHAPES, actor.shape, rng)
    pairs = _MOTIONS[actor.motion]
    motion = pairs[int(rng.integers(len(pairs)))][0 if doing else 1]
    return f"{_article(colour)} {shape} {motion}"


def _synonym(synonyms: Mapping[str, tuple[str, ...]], word: str, rng: np.random.Generator) -> str:
    return str(rng.choice(synonyms.get(word, (word,))))


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
