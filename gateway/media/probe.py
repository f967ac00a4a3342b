"""What a clip is, found by decoding all of it: a header only says what was meant."""

from __future__ import annotations

from pathlib import Path

from av.video.frame import VideoFrame

from gateway.media._decode import DEFAULT_LIMITS, BrokenVideo, Limits, open_clip
from gateway.spec import Value


class Probe(Value):
    """A clip that decodes to its end.

    Sides are in pixels, ``fps`` is frames per second on average, ``bytes`` the file's length.
    """

    width: int
    height: int
    fps: float
    frames: int
    duration_ms: int
    codec: str
    pix_fmt: str
    has_audio: bool
    bytes: int


def probe(path: Path, limits: Limits = DEFAULT_LIMITS) -> Probe:
    """Decode every frame of an MP4 and say what it is. Blocks: 0.2 s for 121 frames of 1280x704 on two cores.

    Raises:
        BrokenVideo: not an MP4, no video, cut short, damaged, or over the limits; the text says which.
    """
    with open_clip(path, limits) as clip:
        stream = clip.stream
        first: VideoFrame | None = None
        frames = begin = end = 0
        for frame in clip.frames():
            pts = frame.pts if frame.pts is not None else end
            if first is None:
                first, begin = frame, pts
            begin, end = min(begin, pts), max(end, pts + (frame.duration or 0))
            frames += 1
        if first is None or stream.time_base is None:
            raise BrokenVideo("not one frame can be decoded")
        seconds = (end - begin) * stream.time_base
        rate = stream.average_rate or (frames / seconds if seconds else 0)
        return Probe(
            width=first.width,
            height=first.height,
            fps=float(rate),
            frames=frames,
            duration_ms=round(seconds * 1000),
            codec=stream.codec_context.codec.canonical_name,
            pix_fmt=first.format.name,
            has_audio=bool(clip.container.streams.audio),
            bytes=path.stat().st_size,
        )
