"""The engine's control: what the gateway's asks for, step by step."""

from __future__ import annotations

import io
from decimal import Decimal

from PIL import Image

from adapters.wan_local.engine import Frame, Stage, Step
from gateway.spec import Control

TEXT_DONE, IMAGE_DONE, STEPS_DONE, ALL_DONE = 3, 5, 85, 100
_PICTURE_SIDE = 160
_PICTURE_QUALITY = 45


class Watch:
    """Passes cancellation on, counts all stages to 100, and keeps the state and shows pictures when due.

    Args:
        steps: how many of the job's steps are to be taken.
        seconds: the clip's length.
        keeps: False for a render that is not to be gone on with.
    """

    def __init__(self, control: Control, steps: int, seconds: Decimal, *, keeps: bool) -> None:
        self.cancelled = control.cancelled
        self._control = control
        self._steps = steps
        self._seconds = seconds
        self._keeps = keeps

    def progress(self, stage: Stage, done: int, total: int) -> None:
        if stage == "text":
            self._control.progress("text", TEXT_DONE, ALL_DONE)
        elif stage == "image":
            self._control.progress("image", IMAGE_DONE, ALL_DONE)
        elif stage == "decode":
            share = (ALL_DONE - STEPS_DONE) * done // total
            self._control.progress("decode", STEPS_DONE + share, ALL_DONE)

    def stepped(self, step: Step) -> None:
        share = (STEPS_DONE - IMAGE_DONE) * step.done // self._steps
        self._control.progress("denoise", IMAGE_DONE + share, ALL_DONE)
        if self._keeps and self._control.checkpoint_due():
            self._control.keep_checkpoint(step.checkpoint().to_bytes())
        if self._control.preview_due():
            self._control.preview(animate(step.pictures(), self._seconds))


def animate(pictures: list[Frame], seconds: Decimal) -> bytes:
    """The pictures as an endless WebP of ``seconds``, their longer side 160 pixels."""
    frames = [_enlarged(picture) for picture in pictures]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=int(seconds * 1000 / len(frames)),
        loop=0,
        quality=_PICTURE_QUALITY,
    )
    return buffer.getvalue()


def _enlarged(picture: Frame) -> Image.Image:
    image = Image.fromarray(picture)
    scale = _PICTURE_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)
