"""Echo as a local renderer: what a pipeline on a device slot looks like to the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from threading import Event
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from adapters.echo._drawing import drawing_of, first_frame_of
from adapters.echo._fate import meets
from gateway.kit.options import read_options
from gateway.kit.video import write_mp4
from gateway.spec import (
    Asset,
    Cancelled,
    Control,
    Device,
    Job,
    LocalAdapter,
    OutOfMemory,
    RenderError,
    Usage,
    Value,
)

if TYPE_CHECKING:  # numpy and Pillow are loaded by the first render, not by every command of the CLI
    from adapters.echo._draw import Frame

Accident = Literal["none", "render", "oom"]

_SLICE_S = 0.05  # the longest a cancelled render goes on


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
        started = time.monotonic()
        drawing = drawing_of(job)
        accident = options.fail if meets(job.tag, options.fail_every) else "none"
        frames = _worked(
            draw(drawing, first_frame_of(job)), drawing.frames, options.latency_ms, accident, control
        )
        path = control.folder / "echo.mp4"
        write_mp4(path, frames, drawing.fps, metadata={"title": drawing.prompt[:200]})
        return Asset(path=path, usage=Usage(device_ms=round(1000 * (time.monotonic() - started))))


def _worked(
    frames: Iterable[Frame], total: int, latency_ms: int, accident: Accident, control: Control
) -> Iterator[Frame]:
    """Pass the frames on at the pace, and with the accident, that was ordered."""
    for done, frame in enumerate(frames, start=1):
        _simulate_work(latency_ms / 1000 / total, control)
        if done > total // 2:
            _have(accident)
        yield frame
        control.progress("render", done, total)


def _simulate_work(seconds: float, control: Control) -> None:
    """Take ``seconds``, looking out for cancellation.

    An adapter never waits for something to happen: that is the core's. This one has no work of its own, so
    here the waiting *is* the work, as a denoising step would be.
    """
    until = time.monotonic() + seconds
    idle = Event()
    while True:
        if control.cancelled():
            raise Cancelled("The render was stopped on request.")
        left = until - time.monotonic()
        if left <= 0:
            return
        idle.wait(min(left, _SLICE_S))


def _have(accident: Accident) -> None:
    if accident == "render":
        raise RenderError("Echo failed halfway, as it was told to.")
    if accident == "oom":
        raise OutOfMemory("Echo ran out of memory, as it was told to. Ask for less.")
