"""A job without a request, and a core without a queue."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from gateway.spec import InputImage, Job, Offer, Output, VideoRequest


def make_job(
    offer: Offer,
    *,
    preset: str | None = None,
    prompt: str = "a red fox runs through snow",
    size: str = "64x64",
    seconds: str = "1",
    fps: int = 8,
    audio: bool = False,
    seed: int | None = 7,
    first_frame: bytes | None = None,
    options: Mapping[str, Any] | None = None,
    tag: str | None = None,
    account: str = "default",
) -> Job:
    """A planned job for this offer, as the core would hand it to the offer's adapter.

    ``preset`` left out is the offer's first, ``tag`` a new one each time; ``options`` are the adapter's own;
    ``first_frame`` is an encoded image.
    """
    image = _input_image(first_frame) if first_frame is not None else None
    request = VideoRequest(
        prompt=prompt,
        model=offer.model,
        images=(image,) if image else (),
        seconds=Decimal(seconds),
        size=size,
        fps=fps,
        seed=seed,
        options={offer.adapter: dict(options)} if options is not None else {},
    )
    chosen = offer.preset(preset) if preset else offer.presets[0]
    if chosen is None:
        raise ValueError(f"offer {offer.id} has no preset {preset}")
    return Job(
        request=request,
        output=Output(size=size, seconds=Decimal(seconds), fps=fps, audio=audio),
        offer=offer,
        preset=chosen,
        tag=tag or f"att_{uuid4().hex}",
        account=account,
        read_image=lambda wanted: {wanted.key: first_frame or b""}[image.key if image else ""],
    )


def _input_image(data: bytes) -> InputImage:
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    digest = hashlib.sha256(data).hexdigest()
    return InputImage(
        role="first_frame",
        key=f"images/{digest}",
        sha256=digest,
        media_type="image/png",
        width=width,
        height=height,
        bytes=len(data),
    )


class FakeControl:
    """The core's end of a local render: keeps what was reported, and cancels when it is told to."""

    def __init__(self, folder: Path, cancel_when: Callable[[FakeControl], bool] | None = None) -> None:
        self.folder = folder
        self.reports: list[tuple[str, int, int]] = []
        self._cancel_when = cancel_when or (lambda control: False)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Keep the report."""
        self.reports.append((stage, done, total))

    def cancelled(self) -> bool:
        """What ``cancel_when`` says of the reports so far."""
        return self._cancel_when(self)
