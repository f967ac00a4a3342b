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
        prompt="A paper boat on a quiet pond",
        seconds=2,
        fps=16,
        size=(96, 64),
    ),
    Clip(
        name="image-to-video",
        title="image to video, two experts",
        choice=0,
        prompt="The sun sets behind the boat",
        seconds=1,
        fps=16,
        size=(64, 96),
        drawn=True,
    ),
    Clip(
        name="ti2v-from-text",
        title="text to video, one transformer",
        choice=1,
        prompt="Wind moves the water",
        seconds=1,
        fps=24,
        size=(128, 64),
    ),
    Clip(
        name="ti2v-from-image",
        title="image to video, one transformer",
        choice=1,
        prompt="The boat drifts away",
        seconds=2,
        fps=12,
        size=(64, 64),
        drawn=True,
    ),
)

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
    """A boat under a sun, as the data URL of a PNG."""
    width, height = size
    picture = Image.new("RGB", size, "#9fc6e8")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, height * 2 // 3, width, height), fill="#1f5a7a")
    pen.ellipse(
        (width * 2 // 3, height // 8, width * 2 // 3 + width // 5, height // 8 + width // 5), fill="#ffd75e"
    )
    middle, line = width // 2, height * 2 // 3
    pen.polygon(
        [(middle - width // 4, line), (middle + width // 4, line), (middle, line + height // 8)],
        fill="#f4f1e8",
    )
    pen.polygon(
        [(middle, line - height // 4), (middle, line - 1), (middle + width // 6, line - 1)], fill="#ffffff"
    )
    out = BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
