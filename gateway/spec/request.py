"""What a caller asks for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from gateway.spec._value import (
    AspectRatio,
    Mode,
    Money,
    Name,
    Priority,
    Quality,
    Resolution,
    Size,
    Task,
    Value,
)

ImageRole = Literal["first_frame", "last_frame", "reference"]


class InputImage(Value):
    """An image that was checked and stored with the request; ``key`` is its place in the object store."""

    role: ImageRole
    key: str
    sha256: str
    media_type: Literal["image/png", "image/jpeg", "image/webp"]
    width: int
    height: int
    bytes: int


class Continues(Value):
    """The prefix preview that a final render goes on from; only the gateway itself writes one.

    ``attempt_id``, ``offer``, ``account`` and ``done_preset`` say what made it; ``checkpoint`` is the place
    of its state in the object store, and ``sha256`` what lies there.
    """

    video_id: str
    attempt_id: str
    offer: str
    account: str | None = None
    done_preset: Name
    checkpoint: str
    sha256: str


class VideoRequest(Value):
    """One video, in the field's own terms.

    ``seconds``, ``size``, ``fps`` and ``tier`` left out mean the chosen card's or the tenant's default.
    ``audio=True`` is a wish (dropped with a note where it cannot be had), ``"required"`` a condition.
    ``preset`` left out means any. ``options`` maps an adapter's name to its own options, which that adapter
    validates.
    """

    prompt: str = Field(min_length=1, max_length=32_000)
    negative_prompt: str | None = Field(default=None, max_length=32_000)
    model: str = Field(default="auto", min_length=1, max_length=80)
    preset: Name | None = None
    images: tuple[InputImage, ...] = ()
    seconds: Decimal | None = Field(default=None, gt=0, le=600, max_digits=6, decimal_places=3)
    resolution: Resolution | None = None
    size: Size | None = None
    aspect_ratio: AspectRatio | None = None
    fps: int | None = Field(default=None, ge=1, le=120)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    audio: bool | Literal["required"] | None = None
    mode: Mode = "final"
    tier: Name | None = None
    quality: Quality = "standard"
    priority: Priority = "interactive"
    max_cost: Money | None = Field(default=None, gt=0, max_digits=12, decimal_places=6)
    deadline: int | None = Field(default=None, ge=1, le=7 * 86_400, description="seconds from accept")
    options: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    continues: Continues | None = None

    @property
    def task(self) -> Task:
        """The task that the inputs imply."""
        return "image-to-video" if self.images else "text-to-video"

    def image(self, role: ImageRole) -> InputImage | None:
        """The first image with this role, or None."""
        return next((image for image in self.images if image.role == role), None)
