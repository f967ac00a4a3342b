"""Echo as a local renderer: what a pipeline on a device slot looks like to the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from io import BytesIO
from threading import Event
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from adapters.echo._drawing import drawing_of, first_frame_of
from adapters.echo._fate import meets
from adapters.echo._state import State, newest, pack
from gateway.kit.options import read_options
from gateway.kit.video import write_mp4
from gateway.spec import (
    Asset,
    Cancelled,
    Control,
    Device,
    Job,
    LocalAdapter,
    Note,
    OutOfMemory,
    RenderError,
    Usage,
    Value,
)

if TYPE_CHECKING:  # numpy and Pillow are loaded by the first render, not by every command of the CLI
    from adapters.echo._draw import Frame

Accident = Literal["none", "render", "oom"]

_SLICE_S = 0.05  # the longest a cancelled render goes on
_PREVIEW_SIDES = (320, 320)  # the most


class LocalOptions(Value):
    """The operator's section ``echo``, and (field by field) a caller's ``options.echo``."""

    latency_ms: int = Field(default=0, ge=0, le=3_600_000, description="how long a render takes at least")
    fail: Accident = Field(default="none", description="how a job goes wrong, halfway")
    fail_every: int = Field(default=1, ge=1, description="one job in this many goes wrong, chosen by its tag")


class EchoLocal(LocalAdapter):
    """Draws the clip in the process that owns the slot."""

    name: ClassVar[str] = "echo"

    def __init__(self, settings: LocalOptions) -> None:
        self._settings = settings

    @override
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        from adapters.echo._draw import draw

        asked = read_options(job, LocalOptions)
        options = self._settings.model_copy(update=asked.model_dump(exclude_unset=True))
        drawing = drawing_of(job)
        accident = options.fail if meets(job.tag, options.fail_every) else "none"
        work = _Work(newest(control.checkpoints(), drawing), options.latency_ms, accident, control)
        path = control.folder / "echo.mp4"
        frames = work.on(draw(drawing, first_frame_of(job)))
        write_mp4(path, frames, drawing.fps, metadata={"title": drawing.prompt[:200]})
        return Asset(path=path, usage=Usage(device_ms=work.device_ms), notes=work.notes)


class _Work:
    """The work on one drawing: its pace, its accident, and what is kept and shown of it on the way."""

    def __init__(self, begun: State, latency_ms: int, accident: Accident, control: Control) -> None:
        self._begun = begun
        self._started = time.monotonic()
        self._total = begun.drawing.frames
        self._frame_s = latency_ms / 1000 / self._total
        self._accident = accident
        self._control = control

    @property
    def device_ms(self) -> int:
        """Of this run, and of earlier ones as far as it went on from them."""
        return self._begun.device_ms + round(1000 * (time.monotonic() - self._started))

    @property
    def notes(self) -> tuple[Note, ...]:
        """Whether it went on from a checkpoint."""
        if not self._begun.frames:
            return ()
        return (Note(code="resumed", detail=f"went on from frame {self._begun.frames} of {self._total}"),)

    def on(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass the frames on at their pace; those that an earlier run has done take no time."""
        for done, frame in enumerate(frames):
            again = done < self._begun.frames
            self._simulate_work(0 if again else self._frame_s, max(done, self._begun.frames))
            if not again and done >= self._total // 2:
                _have(self._accident)
            yield frame
            self._control.progress("render", done + 1, self._total)
            if self._control.preview_due():
                self._control.preview(_webp(frame))

    def _simulate_work(self, seconds: float, done: int) -> None:
        """Take ``seconds`` once ``done`` frames are, looking out for the end.

        An adapter never waits for something to happen: that is the core's. This one has no work of its own,
        so here the waiting *is* the work, as a denoising step would be.
        """
        until = time.monotonic() + seconds
        state = State(drawing=self._begun.drawing, frames=done, device_ms=self.device_ms)
        idle = Event()
        while True:
            if self._control.checkpoint_due():
                self._control.keep_checkpoint(pack(state))
            if self._control.cancelled():
                raise Cancelled("The render was stopped on request.")
            left = until - time.monotonic()
            if left <= 0:
                return
            idle.wait(min(left, _SLICE_S))


def _webp(frame: Frame) -> bytes:
    """A small picture of a frame."""
    from PIL import Image

    picture, file = Image.fromarray(frame), BytesIO()
    picture.thumbnail(_PREVIEW_SIDES)
    picture.save(file, "WEBP", quality=60)
    return file.getvalue()


def _have(accident: Accident) -> None:
    if accident == "render":
        raise RenderError("Echo failed halfway, as it was told to.")
    if accident == "oom":
        raise OutOfMemory("Echo ran out of memory, as it was told to. Ask for less.")
