"""The text encoder is asked of each name about its own actor, and held to what it said before."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from adapters.wan_local.training.captions import caption, names, words
from adapters.wan_local.training.reading import Reading, _truth
from adapters.wan_local.training.run import Draw
from adapters.wan_local.training.scenes import COLOURS, SHAPES, sample_scene
from adapters.wan_local.training.text import Prompts, make_text_encoder, make_tokenizer

SEED = 20_261_127
SYNONYMS = {"disc": "circle", "ball": "circle", "box": "square", "turquoise": "cyan", "pink": "magenta"}


def make() -> Reading:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(words())
    prompts, near = (Prompts(tokenizer, make_text_encoder(len(tokenizer), 16)) for _ in range(2))
    return Reading(prompts, near)


def draw() -> Draw:
    return Draw(step=0, progress=0.0, rng=np.random.default_rng(SEED), noise=torch.Generator())


def test_the_answers_are_in_the_order_of_the_names() -> None:
    rng = np.random.default_rng(SEED)
    known = set(names())
    for _ in range(300):
        scene = sample_scene(rng, two=0.5)
        said = caption(scene, rng)
        named = [SYNONYMS.get(word, word) for word in said.replace(",", " ").split() if word in known]
        colours = [list(COLOURS)[number] for number in _truth([scene], "colour").tolist()]
        shapes = [SHAPES[number] for number in _truth([scene], "shape").tolist()]
        assert named[0::2] == colours[0::2] == colours[1::2], (SEED, said)
        assert named[1::2] == shapes[0::2] == shapes[1::2], (SEED, said)


def test_it_starts_knowing_nothing() -> None:
    nothing = math.log(len(SHAPES)) + math.log(len(COLOURS)) + math.log(9)
    assert make().losses(draw())["reading"].item() == pytest.approx(nothing, rel=0.2)


def test_it_is_held_to_what_was_said_before() -> None:
    objective = make()
    assert objective.losses(draw())["away"] > 1
    objective._near.encoder.load_state_dict(objective._prompts.encoder.state_dict())
    assert objective.losses(draw())["away"].item() == pytest.approx(0, abs=1e-9)
    assert not any(weight.requires_grad for weight in objective._near.encoder.parameters())
