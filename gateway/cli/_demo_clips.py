"""The demo's four clips: what is asked for, and whether the file is that."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from gateway.media import BrokenVideo, Probe, probe


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video to be asked for and checked.

    ``drawn`` sends a first frame. ``choice`` is which model of its preview plan makes it: on a fresh
    installation the first is the mixture-of-experts path of its task, the second the dense path of both.
    """

    name: str
    title: str
    choice: int
    prompt: str
    seconds: int
    fps: int
    size: tuple[int, int]
    drawn: bool = False

    @property
    def frames(self) -> int:
        """How many frames the local pipeline makes of so many seconds: latent frames stand for four."""
        return 4 * round(self.seconds * self.fps / 4) + 1

    @property
    def asked(self) -> str:
        """The clip in words."""
        width, height = self.size
        return f"{self.frames} frames {width}x{height} at {self.fps} fps"

    def body(self, model: str) -> dict[str, Any]:
        """The body of its ``POST /v1/videos``."""
        width, height = self.size
        body: dict[str, Any] = {
            "model": model,
            "mode": "preview",
            "prompt": self.prompt,
            "seconds": str(self.seconds),
            "fps": self.fps,
            "size": f"{width}x{height}",
            "seed": 7,
            "deadline": 120,
        }
        return {**body, "input_reference": draw(self.size)} if self.drawn else body

    def check(self, file: Path) -> tuple[str, bool]:
        """Decode every frame; returns what it is, and whether that is what was asked for."""
        try:
            found: Probe = probe(file)
        except BrokenVideo as error:
            return f"does not decode: {error}", False
        is_ = f"{found.frames} frames {found.width}x{found.height} at {found.fps:g} fps"
        return is_, is_ == self.asked and found.codec == "h264"


CLIPS = (
    Clip(
        name="text-to-video",
        title="text to video, two experts",
        choice=0,
        prompt="a red circle moving right on a black background",
        seconds=1,
        fps=8,
        size=(64, 64),
    ),
    Clip(
        name="image-to-video",
        title="image to video, two experts",
        choice=0,
        prompt="a yellow square moving up on a navy background",
        seconds=1,
        fps=8,
        size=(64, 64),
        drawn=True,
    ),
    Clip(
        name="ti2v-from-text",
        title="text to video, one transformer",
        choice=1,
        prompt="a green star growing on a purple background",
        seconds=1,
        fps=8,
        size=(64, 64),
    ),
    Clip(
        name="ti2v-from-image",
        title="image to video, one transformer",
        choice=1,
        prompt="a yellow square moving right on a navy background",
        seconds=1,
        fps=8,
        size=(64, 64),
        drawn=True,
    ),
)
"""Of shapes that move, which is what the small models that come along can draw."""

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "preview": {"mode": "preview"},
    "basic tier": {"tier": "basic"},
    "needs audio": {"audio": True},
    "premium quality": {"quality": "premium"},
    "default": {},
}
"""The opening rule's five kinds of request."""

FINAL: Mapping[str, Any] = {
    "quality": "premium",
    "resolution": "720p",
    "seconds": "5",
    "deadline": 120,
}
"""What the final of the approved preview is to have otherwise."""


def draw(size: tuple[int, int]) -> str:
    """A yellow square in the lower left corner of a navy picture, as the data URL of a PNG."""
    side, margin = min(size) // 4, min(size) // 10
    bottom = size[1] - margin
    picture = Image.new("RGB", size, (14, 20, 76))
    place = (margin, bottom - side, margin + side - 1, bottom - 1)
    ImageDraw.Draw(picture).rectangle(place, fill=(255, 230, 30))
    out = BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
