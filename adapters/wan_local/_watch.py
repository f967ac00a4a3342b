"""The engine's control: what the gateway's asks for, step by step."""

from __future__ import annotations

import io
import logging
from decimal import Decimal

from PIL import Image

from adapters.wan_local.engine import Frame, Stage, Step
from gateway.spec import Control

log = logging.getLogger(__name__)

TEXT_DONE, IMAGE_DONE, STEPS_DONE, ALL_DONE = 3, 5, 85, 100
_PICTURE_SIDE = 160
_PICTURE_QUALITY = 45


class Watch:
    """Passes cancellation on, counts all stages to 100, and keeps the state and shows pictures when due.

    Args:
        steps: how many of the job's steps are to be taken, those before a resumption included.
        seconds: the clip's length.
    """

    def __init__(self, control: Control, steps: int, seconds: Decimal) -> None:
        self.cancelled = control.cancelled
        self._control = control
        self._steps = steps
        self._seconds = seconds
        self._last: Step | None = None
        self._shows = True

    def progress(self, stage: Stage, done: int, total: int) -> None:
        if stage == "text":
            self._control.progress("text", TEXT_DONE, ALL_DONE)
        elif stage == "image":
            self._control.progress("image", IMAGE_DONE, ALL_DONE)
        elif stage == "decode":
            share = (ALL_DONE - STEPS_DONE) * done // total
            self._control.progress("decode", STEPS_DONE + share, ALL_DONE)
            self._keep_if_due()

    def stepped(self, step: Step) -> None:
        share = (STEPS_DONE - IMAGE_DONE) * step.done // self._steps
        self._control.progress("denoise", IMAGE_DONE + share, ALL_DONE)
        self._last = step
        self._keep_if_due()
        if self._shows and self._control.preview_due():
            self._show(step)

    def _keep_if_due(self) -> None:
        """Keep the state after the last step, once; while frames are decoded it stays as it is."""
        if self._last is not None and self._control.checkpoint_due():
            self._control.keep_checkpoint(self._last.checkpoint().to_bytes())
            self._last = None

    def _show(self, step: Step) -> None:
        try:
            self._control.preview(animate(step.pictures(), self._seconds))
        except Exception:  # whatever is wrong with a picture, the render is worth more
            self._shows = False
            log.warning("no pictures of this render are shown", exc_info=True)


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
