"""Defaults filled in, and the notes on wishes that a model does not grant."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.routing import plan
from gateway.spec import Candidate

BOUNDS = {"sizes": {"min": 32, "max": 128, "step": 16}, "default_size": "64x64"}


@pytest.fixture(scope="session")
def serve(world):
    """Plan one request on one card with these fields; the candidate."""

    def run(asked, card=None, offer=None, **facts) -> Candidate:
        made = world.card("one", world.offer("one", **(offer or {})), **(card or {}))
        chosen = plan(world.request(model="one", **asked), world.facts(made, **facts)).chosen
        assert chosen is not None
        return chosen

    return run


@pytest.mark.parametrize(
    ("asked", "card", "size"),
    [
        ({}, {}, "832x480"),
        ({"size": "480x832"}, {}, "480x832"),
        ({"resolution": "720p"}, {}, "1280x720"),
        ({"aspect_ratio": "9:16"}, {}, "480x832"),
        ({"aspect_ratio": "1:1"}, {"default_size": "1280x720"}, "480x480"),
        ({"resolution": "720p", "aspect_ratio": "9:16"}, {}, "720x1280"),
        ({"resolution": "480p", "aspect_ratio": "1:1"}, {}, "480x480"),
        ({}, BOUNDS, "64x64"),
        ({"size": "128x32"}, BOUNDS, "128x32"),
        ({"aspect_ratio": "16:9"}, BOUNDS, "80x48"),
        ({"aspect_ratio": "9:16"}, BOUNDS, "48x80"),
        ({"aspect_ratio": "1:1"}, {**BOUNDS, "default_size": "128x64"}, "96x96"),
        (
            {"resolution": "720p", "aspect_ratio": "16:9"},
            {"sizes": {"min": 256, "max": 1920, "step": 32}, "default_size": "832x480"},
            "1248x704",
        ),
        (
            {"resolution": "480p", "aspect_ratio": "9:16"},
            {"sizes": {"min": 256, "max": 1920, "step": 16}, "default_size": "1280x720"},
            "480x848",
        ),
    ],
)
def test_the_size_nearest_to_what_was_asked(serve, asked, card, size):
    assert serve(asked, card).output.size == size


@pytest.mark.parametrize(
    ("width", "height", "asked", "card", "size"),
    [
        (1920, 1080, {}, {}, "832x480"),
        (1080, 1920, {}, {}, "480x832"),
        (1000, 1010, {}, {}, "480x480"),
        (1000, 1010, {"resolution": "720p"}, {}, "720x1280"),
        (1080, 1920, {"aspect_ratio": "16:9"}, {}, "832x480"),
        (1080, 1920, {"size": "480x480"}, {}, "480x480"),
        (1080, 1920, {}, BOUNDS, "48x80"),
        (4000, 100, {}, BOUNDS, "128x32"),
    ],
)
def test_an_images_shape_is_kept(world, serve, width, height, asked, card, size):
    image = world.image(width=width, height=height)
    assert serve({"images": [image], **asked}, card).output.size == size


def test_an_offers_limits_narrow_the_defaults(serve):
    limits = {"resolutions": ["720p"], "durations": {"values": ["4"], "default": "4"}, "audio": "never"}
    output = serve({"audio": True}, {"audio": "always"}, {"limits": limits}).output
    assert (output.size, output.seconds, output.audio) == ("1280x720", Decimal(4), False)


@pytest.mark.parametrize(
    ("asked", "card", "audio", "note"),
    [
        (None, "never", False, None),
        (True, "never", False, "audio_dropped"),
        (None, "optional", False, None),
        (False, "optional", False, None),
        (True, "optional", True, None),
        ("required", "optional", True, None),
        (None, "always", True, None),
        (False, "always", True, "audio_kept"),
    ],
)
def test_sound(serve, asked, card, audio, note):
    chosen = serve({"audio": asked}, {"audio": card})
    assert chosen.output.audio is audio
    assert [n.code for n in chosen.notes] == ([note] if note else [])


@pytest.mark.parametrize(
    ("asked", "fps", "notes"),
    [(None, 16, []), (24, 24, []), (8, 8, []), (25, 16, ["fps_ignored"]), (7, 16, ["fps_ignored"])],
)
def test_fps_is_a_knob(serve, asked, fps, notes):
    chosen = serve({"fps": asked})
    assert (chosen.output.fps, [n.code for n in chosen.notes]) == (fps, notes)


def test_knobs_a_model_lacks_are_noted(serve):
    asked = {"seed": 7, "negative_prompt": "blur"}
    assert serve(asked).notes == ()
    deaf = serve(asked, {"seed": False, "negative_prompt": False})
    assert [n.code for n in deaf.notes] == ["seed_ignored", "negative_prompt_ignored"]


@pytest.mark.parametrize(
    ("lifecycle", "code", "words"),
    [
        (
            {"retires_not_before": "2026-11-17", "successor": "two"},
            "retiring",
            "on 2026-11-17 or later; its successor is two",
        ),
        (
            {"retires_not_before": "2026-08-01", "announced": "2026-12-01"},
            "retiring",
            "on 2026-08-01 or later",
        ),
        ({"retired_on": "2026-09-02"}, "retiring", "on 2026-09-02"),
        ({"deprecated": "2026-11-02"}, "deprecated", "from 2026-11-02 on"),
        ({"deprecated": "2026-08-02", "retires_not_before": "2026-11-17"}, "retiring", "2026-11-17"),
    ],
)
@pytest.mark.parametrize("of", ["card", "offer"])
def test_an_end_announced_is_noted(serve, lifecycle, code, words, of):
    (note,) = serve({}, **{of: {"lifecycle": lifecycle}}).notes
    assert note.code == code
    assert words in note.detail


@pytest.mark.parametrize(
    "lifecycle", [{}, {"announced": "2026-01-01"}, {"retired_on": "2026-09-02", "announced": "2026-09-02"}]
)
def test_an_end_nobody_knows_of_is_not(serve, lifecycle):
    assert serve({}, {"lifecycle": lifecycle}).notes == ()


def test_random_weights_are_always_noted(serve):
    assert [n.code for n in serve({}, {"test_weights": True}).notes] == ["test_weights"]
