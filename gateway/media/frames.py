"""The first and the last frame of a clip, as pictures that another model can be conditioned with."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from av.video.frame import VideoFrame
from PIL import Image

from gateway.media._decode import DEFAULT_LIMITS, BrokenVideo, Limits, open_clip


def end_frames(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, bytes]:
    """The first and the last frame, each as PNG in the clip's own size; two are held at a time.

    Raises:
        BrokenVideo: as for :func:`gateway.media.probe`.
    """
    first: VideoFrame | None = None
    last: VideoFrame | None = None
    with open_clip(path, limits) as clip:
        for frame in clip.frames():
            first, last = first or frame, frame
        if first is None or last is None:
            raise BrokenVideo("not one frame can be decoded")
        return _png(first), _png(last)


def _png(frame: VideoFrame) -> bytes:
    out = BytesIO()
    Image.fromarray(frame.reformat(format="rgb24").to_ndarray()).save(out, "PNG")
    return out.getvalue()
