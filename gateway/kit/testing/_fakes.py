"""A job without a request, and a core without a queue."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
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
        planned_at=datetime.now(UTC),
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


Says = Callable[["FakeControl"], bool]
"""Answers for a fake core, by what was reported, kept and shown so far."""


class FakeControl:
    """The core's end of a local render: keeps what it is handed, and answers as it is told to.

    ``reports``, ``kept`` and ``previews`` (picture, media type) hold what came, in order. ``checkpoints`` are
    the states of earlier runs, newest first; ``handed_out`` counts those that were asked for.
    """

    def __init__(
        self,
        folder: Path,
        cancel_when: Says = lambda control: False,
        *,
        keep_when: Says = lambda control: False,
        show_when: Says = lambda control: False,
        checkpoints: Sequence[bytes] = (),
    ) -> None:
        self.folder = folder
        self.reports: list[tuple[str, int, int]] = []
        self.kept: list[bytes] = []
        self.previews: list[tuple[bytes, str]] = []
        self.handed_out = 0
        self._earlier = checkpoints
        self._cancel_when, self._keep_when, self._show_when = cancel_when, keep_when, show_when

    def progress(self, stage: str, done: int, total: int) -> None:
        """Keep the report."""
        self.reports.append((stage, done, total))

    def cancelled(self) -> bool:
        """What ``cancel_when`` says."""
        return self._cancel_when(self)

    def checkpoint_due(self) -> bool:
        """What ``keep_when`` says."""
        return self._keep_when(self)

    def keep_checkpoint(self, data: bytes) -> None:
        """Keep the state."""
        self.kept.append(data)

    def checkpoints(self) -> Iterator[bytes]:
        """The states of earlier runs."""
        for state in self._earlier:
            self.handed_out += 1
            yield state

    def preview_due(self) -> bool:
        """What ``show_when`` says."""
        return self._show_when(self)

    def preview(self, image: bytes, media_type: str = "image/webp") -> None:
        """Keep the picture."""
        self.previews.append((image, media_type))
