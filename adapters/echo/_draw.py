"""The picture: a moving pattern with the prompt, the seed and the time burnt in."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from adapters.echo._drawing import Drawing
from gateway.spec import parse_size

Frame = npt.NDArray[np.uint8]

_MAX_LINES = 3


def draw(drawing: Drawing, image: bytes | None = None) -> Iterator[Frame]:
    """Yield the frames, uint8 [height, width, 3] RGB; the same arguments draw the same frames.

    ``image`` is an encoded picture that shines through the pattern, cropped to fit.
    """
    width, height = parse_size(drawing.size)
    random = np.random.default_rng(drawing.seed)
    palette = _palette(random)
    field = _field(width, height, random)
    below = _picture(image, width, height) if image is not None else None
    font = ImageFont.load_default(size=max(8, height // 14))
    title = _title(f"{drawing.prompt}\nseed {drawing.seed}", font, width)
    for index in range(drawing.frames):
        frame = palette[field + np.uint8(index * 96 // drawing.fps % 256)]  # uint8 wraps: the pattern cycles
        if below is not None:
            frame = ((frame.astype(np.uint16) + 3 * below) // 4).astype(np.uint8)
        yield _burn(frame, title, f"{index / drawing.fps:.2f} s", font)


def _palette(random: np.random.Generator) -> Frame:
    """256 colours in a closed cycle, uint8 [256, 3]."""
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)[:, None]
    return (127.5 + 110 * np.sin(angle + random.uniform(0, 2 * np.pi, 3))).astype(np.uint8)


def _field(width: int, height: int, random: np.random.Generator) -> Frame:
    """Which colour of the palette each pixel starts at: crossing waves, uint8 [height, width]."""
    y, x = np.ogrid[0 : 1 : height * 1j, 0 : width / height : width * 1j]
    across, down, ring = random.uniform(2, 6, 3)
    waves = np.sin(across * x + down * y) + np.sin(2 * ring * np.hypot(x - 0.5, y - 0.5))
    field: Frame = ((waves + 2) * 63.75).astype(np.uint8)
    return field


def _picture(image: bytes, width: int, height: int) -> npt.NDArray[np.uint16]:
    with Image.open(io.BytesIO(image)) as opened:
        fitted = ImageOps.fit(opened.convert("RGB"), (width, height))
    return np.asarray(fitted, dtype=np.uint16)


def _title(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text cut to lines that fit, the last line (the seed) always kept."""
    fits = max(4, int((width - 8) / max(1.0, font.getlength("m") * 0.6)))
    *prompt, seed = ("".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))
    return "\n".join([*textwrap.wrap(" ".join(prompt), fits)[:_MAX_LINES], seed])


def _burn(frame: Frame, title: str, time: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Frame:
    canvas = Image.fromarray(frame)
    pen = ImageDraw.Draw(canvas)
    margin = max(2, canvas.height // 45)
    pen.multiline_text((margin, margin), title, "white", font, stroke_width=1, stroke_fill="black")
    corner = (margin, canvas.height - margin)
    pen.text(corner, time, "white", font, anchor="ls", stroke_width=1, stroke_fill="black")
    return np.asarray(canvas)
