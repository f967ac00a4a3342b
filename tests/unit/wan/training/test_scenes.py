"""The films are of the scenes, and training never sees what is held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapters.wan_local.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    Actor,
    Scene,
    film,
    is_held_out,
    sample_scene,
)

SEED = 20_261_126


def draw(seed: int, *, held_out: bool = False, two: float = 0.25) -> Scene:
    return sample_scene(np.random.default_rng(seed), held_out=held_out, two=two)


def track(clip: np.ndarray, background: str) -> tuple[np.ndarray, np.ndarray]:
    """Centres [frames, 2] and areas [frames] of what is not background, as parts of the picture."""
    away = np.abs(clip.astype(int) - BACKGROUNDS[background]).max(axis=-1) > 60
    centres = [np.argwhere(frame).mean(axis=0)[::-1] / len(frame) for frame in away]
    return np.array(centres), away.mean(axis=(1, 2))


def test_the_same_seed_gives_the_same_film() -> None:
    scenes = [draw(SEED) for _ in range(2)]
    films = [film(scenes[0], np.random.default_rng(SEED)) for _ in range(2)]
    assert scenes[0] == scenes[1]
    assert np.array_equal(films[0], films[1])
    assert not np.array_equal(films[0], film(scenes[0], np.random.default_rng(SEED + 1)))


@pytest.mark.parametrize(("size", "frames"), [(64, 9), (96, 17)])
def test_a_shape_never_leaves_the_picture(size: int, frames: int) -> None:
    rng = np.random.default_rng(SEED)
    for number in range(60):
        scene = sample_scene(rng, two=0.5)
        clip = film(scene, rng, size, frames)
        assert clip.shape == (frames, size, size, 3)
        border = np.concatenate([clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]], axis=1)
        assert (border == BACKGROUNDS[scene.background]).all(), (SEED, number, scene)
        assert (clip != BACKGROUNDS[scene.background]).any(axis=-1).any(axis=(1, 2)).all()


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_moves_as_it_is_said_to(shape: str, motion: str) -> None:
    for seed in range(8):
        scene = Scene((Actor(shape, "white", motion),), "black")
        centres, areas = track(film(scene, np.random.default_rng(seed)), "black")
        (x, y), (travel_x, travel_y) = centres[-1] - centres[0], np.ptp(centres, axis=0)
        growth = areas[-1] / areas[0]
        checks = {
            "left": x < -0.25 and travel_y < 0.03,
            "right": x > 0.25 and travel_y < 0.03,
            "up": y < -0.25 and travel_x < 0.03,
            "down": y > 0.25 and travel_x < 0.03,
            "diagonal": abs(x) > 0.25 and abs(y) > 0.25,
            "bounce": abs(y) < 0.03 and travel_y > 0.25 and travel_x < 0.03,
            "still": travel_x < 0.03 and travel_y < 0.03,
            "grow": growth > 2.5 and travel_x < 0.05,
            "shrink": growth < 0.4 and travel_x < 0.05,
        }
        assert checks[motion], (seed, centres, areas)
        assert motion in ("grow", "shrink") or growth == pytest.approx(1, abs=0.15)


def test_the_colours_are_the_scenes() -> None:
    for colour in COLOURS:
        scene = Scene((Actor("circle", colour, "still"),), "grey")
        clip = film(scene, np.random.default_rng(SEED))
        seen = {tuple(int(part) for part in pixel) for pixel in clip.reshape(-1, 3)}
        assert {COLOURS[colour], BACKGROUNDS["grey"]} <= seen


def test_one_in_ten_combinations_is_held_out_and_leaves_nothing_unseen() -> None:
    actors = [Actor(shape, colour, motion) for shape in SHAPES for colour in COLOURS for motion in MOTIONS]
    trained = [actor for actor in actors if not is_held_out(actor)]
    assert 0.05 < 1 - len(trained) / len(actors) < 0.15
    for field, all_of in (("shape", SHAPES), ("colour", COLOURS), ("motion", MOTIONS)):
        assert {getattr(actor, field) for actor in trained} == set(all_of)


def test_training_never_sees_what_is_held_out() -> None:
    for seed in range(400):
        scene = draw(seed, two=0.5)
        assert not any(is_held_out(actor) for actor in scene.actors), (seed, scene)
        judged = draw(seed, held_out=True, two=0.5)
        assert is_held_out(judged.actors[0]), (seed, judged)
        for each in (scene, judged):
            assert len({actor.colour for actor in each.actors}) == len(each.actors)


def test_two_actors_keep_apart() -> None:
    rng = np.random.default_rng(SEED)
    lost = []
    for _ in range(40):
        scene = sample_scene(rng, two=1.0)
        state = rng.bit_generator.state
        both = film(scene, rng)
        rng.bit_generator.state = state
        recoloured = replace(scene, actors=tuple(replace(actor, colour="white") for actor in scene.actors))
        assert (film(recoloured, rng) != both).any()
        first = np.abs(both.astype(int) - COLOURS[scene.actors[0].colour]).max(axis=-1) < 8
        lost.append((first.sum(axis=(1, 2)) < 4).any())
    assert np.mean(lost) < 0.1, SEED
