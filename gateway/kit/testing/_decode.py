"""What a decoder makes of a clip."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A clip as decoded to its last frame; ``fps`` is the container's average rate."""

    width: int
    height: int
    fps: Fraction
    frames: int
    codec: str
    pix_fmt: str
    has_audio: bool


def decode(video: Path | bytes) -> Decoded:
    """Decode every frame of an MP4.

    Raises:
        av.FFmpegError: it is no MP4, or a frame does not decode.  ValueError: it holds no video stream.
    """
    import av

    data = video if isinstance(video, bytes) else video.read_bytes()
    # from memory and with the format given, so that a playlist in disguise can open nothing
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        if not container.streams.video:
            raise ValueError("the file holds no video stream")
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return Decoded(
            width=context.width,
            height=context.height,
            fps=stream.average_rate or Fraction(0),
            frames=frames,
            codec=context.name,
            pix_fmt=context.pix_fmt or "",
            has_audio=bool(container.streams.audio),
        )
