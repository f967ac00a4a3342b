"""The base of every value in the public contract."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints

Task = Literal["text-to-video", "image-to-video", "video-to-video"]
Resolution = Literal["360p", "480p", "540p", "720p", "1080p", "4k"]
Mode = Literal["preview", "final"]
Quality = Literal["standard", "premium"]
Priority = Literal["interactive", "batch"]

Size = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,4}x[1-9]\d{1,4}$")]
"""Width by height in pixels, for example ``832x480``."""

AspectRatio = Annotated[str, StringConstraints(pattern=r"^[1-9]\d?:[1-9]\d?$")]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
"""An id that may stand in a URL, a file name and a log line."""

Money = Annotated[Decimal, PlainSerializer(lambda d: format(d, "f"), return_type=str, when_used="json")]
"""US dollars, exact; a decimal string in JSON."""


class Value(BaseModel):
    """A frozen value that refuses unknown fields and survives a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Value):
    """Where a figure comes from: a document or address, the day it was read, and how far to trust it.

    ``high``: the vendor's own words or two independent sources; ``medium``: one good secondary source;
    ``low``: one weak source or an inference, never to be routed on by default.
    """

    text: str
    date: date
    confidence: Literal["high", "medium", "low"]


class Note(Value):
    """Something the caller should know about a result that is not an error."""

    code: Name
    detail: str


def parse_size(size: str) -> tuple[int, int]:
    """Return (width, height) in pixels of a ``WxH`` string."""
    width, height = size.split("x")
    return int(width), int(height)
