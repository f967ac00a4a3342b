"""Pictures of a clip: its thumbnail and its sheet of small frames. Each holds a frame or two at a time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from gateway.media._decode import DEFAULT_LIMITS, BrokenVideo, Limits, open_clip

_THUMBNAIL = 640
_TILE = (240, 480)  # a tall clip's tiles are bounded too
_COLUMNS = _ROWS = 5
_LOOK_AT = 120
_VARIED = 8.0


def thumbnail(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The first frame that is not one flat colour, as WebP, its longest side at most 640 pixels.

    Where the first 120 frames are all flat, it is the least flat of them.

    Raises:
        BrokenVideo: as for :func:`gateway.media.probe`.
    """
    best: VideoFrame | None = None
    most = -1.0
    with open_clip(path, limits) as clip:
        for seen, frame in enumerate(clip.frames(), start=1):
            variation = _variation(frame)
            if variation > most:
                best, most = frame, variation
            if most >= _VARIED or seen == _LOOK_AT:
                break
        if best is None:
            raise BrokenVideo("not one frame can be decoded")
        return _encode(_shrink(best, _fit(best.width, best.height, (_THUMBNAIL, _THUMBNAIL))), "WEBP", 80)


def spritesheet(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Up to 25 evenly spaced frames, row by row in five columns, as JPEG; tiles at most 240 pixels wide.

    Raises:
        BrokenVideo: as for :func:`gateway.media.probe`.
    """
    with open_clip(path, limits) as clip:
        wanted = _evenly(clip.count(), _COLUMNS * _ROWS)
    sheet: Image.Image | None = None
    tile, placed = (0, 0), 0
    with open_clip(path, limits) as clip:
        for index, frame in enumerate(clip.frames()):
            if placed == len(wanted):
                break
            if index != wanted[placed]:
                continue
            if sheet is None:
                tile = _fit(frame.width, frame.height, _TILE)
                columns, rows = min(len(wanted), _COLUMNS), -(-len(wanted) // _COLUMNS)
                sheet = Image.new("RGB", (columns * tile[0], rows * tile[1]))
            row, column = divmod(placed, _COLUMNS)
            sheet.paste(_shrink(frame, tile), (column * tile[0], row * tile[1]))
            placed += 1
    if sheet is None:
        raise BrokenVideo("not one frame can be decoded")
    return _encode(sheet, "JPEG", 80)


def _evenly(count: int, most: int) -> list[int]:
    """At most ``most`` frame numbers below ``count``, from the first to the last."""
    picks = min(count, most)
    return [0] if picks == 1 else [round(i * (count - 1) / (picks - 1)) for i in range(picks)]


def _variation(frame: VideoFrame) -> float:
    """The standard deviation of brightness (0 to 127) over a 32 x 32 copy."""
    return float(np.std(frame.reformat(width=32, height=32, format="gray").to_ndarray()))


def _fit(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The size that fits the box in the same shape; never larger than it was."""
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrink(frame: VideoFrame, size: tuple[int, int]) -> Image.Image:
    small = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA")
    return Image.fromarray(small.to_ndarray())


def _encode(image: Image.Image, kind: str, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, kind, quality=quality)
    return out.getvalue()
