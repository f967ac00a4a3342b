"""A local adapter that stops early where its preset says so, and goes on from the state that it kept then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from gateway.kit.video import write_mp4
from gateway.spec import Asset, Control, Device, Job, LocalAdapter, RenderError, Usage, parse_size

SOURCE = {"text": "invented for a test", "date": "2026-01-01", "confidence": "high"}


def _preset(name: str, seconds: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "times": [{"clip_seconds": "1", "seconds": seconds, "source": SOURCE}], **fields}


OFFER: dict[str, Any] = {
    "model": "echo",
    "adapter": "stepper",
    "upstream": "echo",
    "pool": "cpu",
    "presets": [_preset("whole", "360"), _preset("prefix", "144", finished_by="whole")],
    "prices": [{"unit": "device_second", "effective_from": "2026-01-01", "source": SOURCE}],
}
"""At $0.10 an hour a second of video costs $0.01; $0.004 of it is the preview's, $0.006 what is left."""

PREVIEW: dict[str, Any] = {
    "model": "echo",
    "mode": "preview",
    "preset": "prefix",
    "seconds": "1",
    "size": "64x64",
    "seed": 7,
}


class Stepper(LocalAdapter):
    """``begun_from`` holds, by attempt, the state that it went on from; ``broken`` makes renders fail."""

    name: ClassVar[str] = "stepper"

    def __init__(self) -> None:
        self.begun_from: dict[str, bytes | None] = {}
        self.broken = False

    @override
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        self.begun_from[job.tag] = job.read_checkpoint()
        if self.broken:
            raise RenderError("It broke, as it was told to.")
        for step in (1, 2):
            control.keep_checkpoint(f"step {step} of {job.request.prompt}".encode())
        path = control.folder / "clip.mp4"
        write_mp4(path, _frames(job), job.output.fps)
        control.progress("render", 1, 1)
        return Asset(path=path, usage=Usage(device_ms=144_000 if job.preset.finished_by else 216_000))


def _frames(job: Job) -> Iterator[Any]:
    width, height = parse_size(job.output.size)
    for _ in range(int(job.output.seconds * job.output.fps)):
        yield np.full((height, width, 3), 90, dtype=np.uint8)
