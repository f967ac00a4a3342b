"""Answers as one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from adapters.wan_local.evaluation.sitting import Answer

_SHOWN = 5  # frames of a clip
_COLUMNS = 2
_GAP = 4
_CAPTION = 26  # pixels: two lines
_LETTERS = 56
_COLOURS = 128


def make_sheet(answers: Sequence[Answer]) -> Image.Image:
    """Each clip as five of its frames below its prompt, which is red where the oracle says no."""
    frames, height, width, _ = answers[0].clip.shape
    shown = np.linspace(0, frames - 1, _SHOWN).round().astype(int)
    across, down = _SHOWN * (width + _GAP) + 2 * _GAP, height + _CAPTION + 2 * _GAP
    rows = -(-len(answers) // _COLUMNS)
    sheet = Image.new("RGB", (across * min(_COLUMNS, len(answers)), down * rows), "white")
    pen = ImageDraw.Draw(sheet)
    for number, answer in enumerate(answers):
        left, top = number % _COLUMNS * across + _GAP, number // _COLUMNS * down + _GAP
        said = textwrap.fill(answer.question.prompt, _LETTERS)
        pen.multiline_text((left, top), said, fill="black" if answer.verdict.all else "red", spacing=1)
        for place, frame in enumerate(shown):
            picture = Image.fromarray(answer.clip[frame])
            sheet.paste(picture, (left + place * (width + _GAP), top + _CAPTION))
    return sheet.quantize(_COLOURS)
