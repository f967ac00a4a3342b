"""The oracle knows what true clips show, also through a VAE's blur, and does not say yes to another scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from adapters.wan_local.evaluation.oracle import Seen, Verdict, first_frame_psnr, judge, look, psnr
from adapters.wan_local.evaluation.sight import Clip, Mask, largest_components
from adapters.wan_local.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    Actor,
    Scene,
    film,
    sample_scene,
)

RED_CIRCLE = Actor("circle", "red", "right")
BLUE_STAR = Actor("star", "blue", "still")
CHOICES = {"shape": SHAPES, "colour": tuple(COLOURS), "motion": MOTIONS}
SEED = 20261126


def sharp(clip: Clip, rng: np.random.Generator) -> Clip:
    return clip


def like_a_vae(clip: Clip, rng: np.random.Generator) -> Clip:
    """Blurred, with coarse and fine noise: about 29 dB."""
    blurred = [np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(0.9))) for frame in clip]
    frames, height, width, _ = clip.shape
    coarse = rng.normal(0, 6, (frames, height // 4, width // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noisy = np.stack(blurred) + coarse + rng.normal(0, 3, clip.shape)
    return noisy.clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("seen_through", [sharp, like_a_vae])
def test_true_clips_are_right_and_one_wrong_word_is_seen(
    seen_through: Callable[[Clip, np.random.Generator], Clip],
) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    all_right = Verdict(colour=True, shape=True, motion=True, background=True)
    for number in range(40):
        scene = sample_scene(rng, held_out=number % 2 == 0, two=0.4)
        clip = seen_through(film(scene, rng), rng)
        assert judge(clip, scene) == all_right, scene
        for attribute in CHOICES:
            wrong = judge(clip, with_another(scene, attribute, rng))
            assert wrong == replace(all_right, **{attribute: False}), (scene, attribute)


def with_another(scene: Scene, attribute: str, rng: np.random.Generator) -> Scene:
    first, *others = scene.actors
    taken = {getattr(first, attribute)} | {actor.colour for actor in others}
    value = str(rng.choice([choice for choice in CHOICES[attribute] if choice not in taken]))
    return replace(scene, actors=(replace(first, **{attribute: value}), *others))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_known_by_what_blur_leaves_of_it(shape: str) -> None:
    scene = Scene((Actor(shape, "green", "left"),), "grey")
    clip = film(scene, np.random.default_rng(2))
    blurred = [np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(2.2))) for frame in clip]
    assert judge(np.stack(blurred), scene).all


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_background_is_known(background: str) -> None:
    scene = Scene((RED_CIRCLE,), background)
    clip = film(scene, np.random.default_rng(1))
    assert judge(clip, scene).background
    others = [other for other in BACKGROUNDS if other != background]
    assert not any(judge(clip, replace(scene, background=other)).background for other in others)


def test_what_is_there_is_named() -> None:
    clip = film(Scene((RED_CIRCLE, BLUE_STAR), "grey"), np.random.default_rng(3))
    seen, background = look(clip)
    assert background == "grey"
    assert set(seen) == {Seen("circle", "red", "right"), Seen("star", "blue", "still")}


def test_larger_and_longer_clips_are_read_alike() -> None:
    scene = Scene((Actor("triangle", "yellow", "bounce"),), "navy")
    assert judge(film(scene, np.random.default_rng(4), size=128, frames=33), scene).all


def test_one_thing_too_many_or_too_few_is_wrong() -> None:
    rng = np.random.default_rng(5)
    one, two = Scene((RED_CIRCLE,), "black"), Scene((RED_CIRCLE, BLUE_STAR), "black")
    too_many = judge(film(two, rng), one)
    assert (too_many.colour, too_many.shape, too_many.motion, too_many.all) == (False, True, True, False)
    too_few = judge(film(one, rng), two)
    assert (too_few.colour, too_few.shape, too_few.motion, too_few.background) == (False, False, False, True)


def test_two_actors_have_each_its_own_attributes() -> None:
    scene = Scene((RED_CIRCLE, BLUE_STAR), "black")
    swapped = Scene((replace(RED_CIRCLE, shape="star"), replace(BLUE_STAR, shape="circle")), "black")
    found = judge(film(swapped, np.random.default_rng(6)), scene)
    assert not found.all
    assert found.background


def another(clip: Clip, frames: Iterable[int], place: tuple[int, int], radius: int, colour: str) -> None:
    y, x = np.indices(clip.shape[1:3])
    inside = (x - place[0]) ** 2 + (y - place[1]) ** 2 <= radius**2
    for frame in frames:
        clip[frame][inside] = COLOURS[colour]


@pytest.mark.parametrize(
    ("frames", "radius", "colour"),
    [
        pytest.param(range(9), 6, "red", id="a second one of its colour"),
        pytest.param(range(9), 3, "blue", id="a small one of another"),
        pytest.param(range(5, 9), 6, "blue", id="one that comes late"),
        pytest.param([4], 6, "white", id="one in a single frame"),
    ],
)
def test_whatever_else_is_there_is_one_thing_too_many(
    frames: Iterable[int], radius: int, colour: str
) -> None:
    scene = Scene((RED_CIRCLE,), "black")
    clip = film(scene, np.random.default_rng(3))
    another(clip, frames, (10, 55), radius, colour)
    assert judge(clip, scene) == Verdict(colour=False, shape=True, motion=True, background=True)


@pytest.mark.parametrize("order", [[0] * 8 + [8], [0, 8, 0, 8, 0, 8, 0, 8, 8], [8, 7, 6, 5, 0, 1, 2, 3, 8]])
def test_who_jumps_does_not_move(order: list[int]) -> None:
    scene = Scene((RED_CIRCLE,), "black")
    clip = film(scene, np.random.default_rng(3))[order]
    assert judge(clip, scene) == Verdict(colour=True, shape=True, motion=False, background=True)


@pytest.mark.parametrize("order", [[0, 0, 0, 0, 8, 8, 8, 8, 8], [0, 8, 1, 7, 2, 6, 3, 5, 8]])
@pytest.mark.parametrize("motion", ["grow", "shrink"])
def test_nor_does_what_changes_at_once_grow(motion: str, order: list[int]) -> None:
    scene = Scene((Actor("square", "cyan", motion),), "brown")
    clip = film(scene, np.random.default_rng(3))
    assert judge(clip, scene).all
    assert judge(clip[order], scene) == Verdict(colour=True, shape=True, motion=False, background=True)


def test_a_bounce_meets_the_ground_once() -> None:
    scene = Scene((Actor("circle", "cyan", "bounce"),), "brown")
    clip = film(scene, np.random.default_rng(3))
    assert judge(clip, scene).all
    assert not judge(clip[[0, 4, 0, 1, 4, 7, 8, 4, 8]], scene).motion


def test_what_grows_on_its_way_does_neither() -> None:
    clip = np.zeros((9, 64, 64, 3), dtype=np.uint8)
    for frame in range(9):
        another(clip, [frame], (15 + 4 * frame, 30), 5 + frame, "red")
    (seen,), _ = look(clip)
    assert (seen.shape, seen.colour, seen.motion) == ("circle", "red", None)


def test_a_background_is_of_every_frame_and_of_all_of_it() -> None:
    scene = Scene((RED_CIRCLE,), "black")
    clip = film(scene, np.random.default_rng(3))
    ground = clip.max(axis=3) < 10
    later, partly = clip.copy(), clip.copy()
    later[5:][ground[5:]] = BACKGROUNDS["purple"]
    partly[:, :, :26][ground[:, :, :26]] = BACKGROUNDS["purple"]
    for changed in (later, partly):
        assert not judge(changed, scene).background
        assert not judge(changed, replace(scene, background="purple")).background


def test_what_comes_or_goes_half_way_has_no_motion() -> None:
    clip = film(Scene((RED_CIRCLE,), "black"), np.random.default_rng(7))
    clip[8:] = 0
    (seen,), _ = look(clip)
    assert (seen.shape, seen.colour, seen.motion) == ("circle", "red", None)
    clip[4:] = 0
    assert look(clip)[0] == []


def test_noise_and_emptiness_show_nothing_that_was_asked_for() -> None:
    scene = Scene((RED_CIRCLE,), "black")
    empty = np.zeros((9, 64, 64, 3), dtype=np.uint8)
    assert look(empty) == ([], "black")
    assert judge(empty, scene) == Verdict(colour=False, shape=False, motion=False, background=True)
    noise = np.random.default_rng(8).integers(0, 256, empty.shape, dtype=np.uint8)
    assert judge(noise, scene) == Verdict(colour=False, shape=False, motion=False, background=False)


def test_a_blob_of_no_shape_is_none() -> None:
    clip = np.zeros((9, 64, 64, 3), dtype=np.uint8)
    clip[:, 20:23, 8:56] = COLOURS["red"]
    (seen,), _ = look(clip)
    assert (seen.shape, seen.motion) == (None, "still")


def test_the_largest_component_joins_at_corners_and_stays_in_its_frame() -> None:
    def mask(*rows: str) -> Mask:
        return np.array([[cell == "#" for cell in row] for row in rows])

    given = np.stack(
        [mask("#..#", ".#.#", "...."), mask("##..", "....", "...#"), mask("....", "....", "....")]
    )
    kept = np.stack(
        [mask("#...", ".#..", "...."), mask("##..", "....", "...."), mask("....", "....", "....")]
    )
    given[0, 0, 3] = False  # two against one
    assert np.array_equal(largest_components(given), kept)


def test_psnr_is_that_of_the_textbook() -> None:
    one = np.full((2, 4, 4, 3), 100, dtype=np.uint8)
    assert psnr(one, one + 5) == pytest.approx(10 * np.log10(255**2 / 25))
    assert psnr(one, one) == float("inf")
    one[1] = 0
    assert first_frame_psnr(one, np.full((4, 4, 3), 100, dtype=np.uint8)) == float("inf")
