"""Decoding a clip that nobody vouches for: from a file, as MP4 only, and within limits."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from gateway.spec import ReelgateError

_WHOLE = {b"moov", b"moof", b"mdat"}
_HEADER = 16
_BOXES = 100_000


class BrokenVideo(ReelgateError):
    """The file is not a clip that plays to its end."""

    code = "broken_video"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the result is not a playable MP4: {reason}")
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is decoded before a file is refused.

    The defaults: 600 s at 120 frames/s (the longest a request can ask for), an 8K frame, and about 200 s of
    4K at 60 frames/s in all.
    """

    frames: int = 72_000
    frame_pixels: int = 8192 * 4320
    total_pixels: int = 100_000_000_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Clip:
    """An open clip: its container and first proper video stream."""

    container: InputContainer
    stream: VideoStream
    limits: Limits

    def frames(self) -> Iterator[VideoFrame]:
        """Decode from here to the end.

        Raises:
            BrokenVideo: the limits are passed.
        """
        pixels = frames = 0
        for sent, packet in enumerate(self.container.demux(self.stream)):
            for frame in packet.decode():
                frames += 1
                pixels += frame.width * frame.height
                yield frame
            if max(sent, frames) > self.limits.frames:  # packets may well hold no frame
                raise BrokenVideo(f"it has more than {self.limits.frames:,} frames")
            if pixels > self.limits.total_pixels:
                raise BrokenVideo(f"it has more than {self.limits.total_pixels:,} pixels in all its frames")

    def count(self) -> int:
        """How many frames there are from here to the end, without decoding them."""
        packets = 0
        for packet in self.container.demux(self.stream):
            packets += packet.size > 0 and not packet.is_discard
            if packets > self.limits.frames:
                raise BrokenVideo(f"it has more than {self.limits.frames:,} frames")
        return packets


@contextmanager
def open_clip(path: Path, limits: Limits) -> Iterator[Clip]:
    """Open an MP4 for decoding.

    Raises:
        BrokenVideo: not an MP4 with video, cut short, over the limits; also for what the decoder finds while
            the clip is open.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        _refuse_other_kinds(file.read(_HEADER))
        _refuse_truncated(file, size)
        file.seek(0)
        largest = {"max_pixels": str(limits.frame_pixels)}
        try:
            # A file object and a named format: FFmpeg fetches a string it takes for an address, and other
            # formats name further files.
            with av.open(file, "r", "mp4", options=largest, metadata_errors="replace") as container:
                stream = _video(container, limits)
                stream.codec_context.options = largest  # holds also when the size changes on the way
                stream.thread_type = "AUTO"
                yield Clip(container, stream, limits)
        except av.FFmpegError as error:
            raise BrokenVideo(f"the decoder says {error.strerror!r}; the file has {size:,} bytes") from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BrokenVideo("its index points outside of the file") from error  # a seek to below 0


def _video(container: InputContainer, limits: Limits) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise BrokenVideo("it has no video track")
    if stream.codec_context is None:
        raise BrokenVideo("its video codec is unknown")
    if stream.width * stream.height > limits.frame_pixels:
        raise BrokenVideo(f"frames of {stream.width}x{stream.height} pixels are too large")
    return stream


def _refuse_other_kinds(start: bytes) -> None:
    if not start:
        raise BrokenVideo("the file is empty")
    if start.lstrip()[:1] in {b"<", b"{", b"["}:
        raise BrokenVideo(f"it is a text, not a video; it begins with {start!r}")


def _refuse_truncated(file: BinaryIO, size: int) -> None:
    """Walk the file's outermost boxes: those that hold frames and their index must end within the file.

    Decoders forgive an index that lacks its last bytes; a player that seeks may not.
    """
    at = 0
    for _ in range(_BOXES):
        file.seek(at)
        header = file.read(_HEADER)
        length, kind = int.from_bytes(header[:4]), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:])
        if length < 8:
            return  # 0 is a box that runs to the end of the file; the rest is the decoder's to judge
        at += length
        if at > size:
            if kind in _WHOLE:
                raise BrokenVideo(f"it is cut off: of at least {at:,} bytes only {size:,} are here")
            return
