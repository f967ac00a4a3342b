"""A caption says what the scene is, with words the tokenizer has."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from adapters.wan_local.training.captions import caption, plain, words
from adapters.wan_local.training.scenes import BACKGROUNDS, COLOURS, SHAPES, Actor, Scene, sample_scene

SEED = 20_261_126
SYNONYMS = {
    "disc": "circle",
    "ball": "circle",
    "box": "square",
    "turquoise": "cyan",
    "pink": "magenta",
    "gray": "grey",
}


def test_the_plain_caption() -> None:
    red = Actor("circle", "red", "right")
    orange = Actor("star", "orange", "bounce")
    assert plain(Scene((red,), "black")) == "a red circle moving right on a black background"
    assert plain(Scene((red, orange), "navy")) == (
        "a red circle moving right and an orange star bouncing on a navy background"
    )


def test_a_caption_says_what_is_seen_and_nothing_else() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(500):
        scene = sample_scene(rng, two=0.5)
        said = caption(scene, rng)
        heard = [SYNONYMS.get(word, word) for word in said.replace(",", " ").split()]
        known = {*COLOURS, *SHAPES, *BACKGROUNDS}
        told = [(actor.colour, actor.shape) for actor in scene.actors]
        expected = [*(fact for pair in told for fact in pair), scene.background]
        assert sorted(word for word in heard if word in known) == sorted(expected), (SEED, said)
        pairs = list(pairwise(heard))
        assert [pairs.index(pair) for pair in told] == sorted(pairs.index(pair) for pair in told), said


def test_every_word_is_in_the_vocabulary() -> None:
    rng = np.random.default_rng(SEED)
    vocabulary = words()
    assert vocabulary == sorted(set(vocabulary))
    said = set()
    for _ in range(4000):
        scene = sample_scene(rng, two=0.5)
        said |= {*caption(scene, rng).replace(",", " ").split(), *plain(scene).split()}
    assert said == set(vocabulary), SEED


def test_a_scene_is_said_in_many_ways() -> None:
    rng = np.random.default_rng(SEED)
    scene = Scene((Actor("circle", "cyan", "left"),), "grey")
    assert len({caption(scene, rng) for _ in range(300)}) > 100
