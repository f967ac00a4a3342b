"""A thumbnail that shows something, and a sheet whose tiles are the right frames."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.kit.video import write_mp4
from gateway.media import BrokenVideo, Limits, spritesheet, thumbnail

MakeClip = Callable[..., Path]


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, np.uint8)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 48), (64, 48)), ((1280, 720), (640, 360)), ((480, 960), (320, 640)), ((16, 16), (16, 16))],
)
def test_a_thumbnail_keeps_the_shape(
    make_clip: MakeClip, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = opened(thumbnail(make_clip(size=size, count=2)))
    assert (image.format, image.size) == ("WEBP", expected)


def test_a_thumbnail_passes_over_flat_frames(make_clip: MakeClip) -> None:
    scene = flat((0, 0, 200))
    scene[:, 32:] = (250, 250, 0)
    black = [flat((0, 0, 0))] * 12
    image = opened(thumbnail(make_clip(frames=[*black, scene, *black]))).convert("RGB")
    red, green, _ = image.getpixel((50, 24))
    assert min(red, green) > 180


def test_a_flat_clip_has_a_thumbnail_in_its_own_colour(tmp_path: Path) -> None:
    path = tmp_path / "red.mp4"
    write_mp4(path, [flat((220, 30, 30))] * 5, 16)
    pixel = opened(thumbnail(path)).convert("RGB").getpixel((32, 24))
    assert np.abs(np.subtract(pixel, (220, 30, 30))).max() <= 12


@pytest.mark.parametrize(
    ("count", "grid"), [(1, (1, 1)), (4, (4, 1)), (7, (5, 2)), (25, (5, 5)), (81, (5, 5))]
)
@pytest.mark.parametrize("movflags", ["+faststart", "+frag_keyframe+empty_moov"])
def test_a_sheet_shows_evenly_spaced_frames(
    make_clip: MakeClip, count: int, grid: tuple[int, int], movflags: str
) -> None:
    greys = [round(i * 255 / max(1, count - 1)) for i in range(count)]
    path = make_clip(frames=[flat((g, g, g)) for g in greys], movflags=movflags)
    sheet = opened(spritesheet(path))
    assert (sheet.format, sheet.size) == ("JPEG", (64 * grid[0], 48 * grid[1]))
    tiles = min(count, 25)
    for tile in range(tiles):
        row, column = divmod(tile, 5)
        shown = sheet.convert("L").getpixel((column * 64 + 32, row * 48 + 24))
        assert abs(shown - greys[round(tile * (count - 1) / max(1, tiles - 1))]) <= 6


@pytest.mark.parametrize(("size", "tile"), [((480, 320), (240, 160)), ((160, 960), (80, 480))])
def test_tiles_are_bounded(make_clip: MakeClip, size: tuple[int, int], tile: tuple[int, int]) -> None:
    assert opened(spritesheet(make_clip(size=size, count=25))).size == (tile[0] * 5, tile[1] * 5)


def test_limits_hold_here_too(make_clip: MakeClip) -> None:
    path = make_clip(frames=[flat((9, 9, 9))] * 30)
    for look in (thumbnail, spritesheet):
        with pytest.raises(BrokenVideo, match="more than 10 frames"):
            look(path, Limits(frames=10))
