"""Frames in, a playable MP4 out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a plugin that only declares itself must load neither numpy nor the codec libraries
    import numpy as np
    import numpy.typing as npt
    from av import AudioStream, VideoFrame, VideoStream
    from av.container import OutputContainer

    Frame = npt.NDArray[np.uint8]
    Sound = npt.NDArray[np.float32]

SOUND_RATE = 48_000
"""Samples of sound to the second."""

# without mbtree: the macroblock tree of FFmpeg's x264 reads memory that it never wrote, so that equal frames
# gave unequal files
_ENCODER = {"preset": "fast", "crf": "18", "x264-params": "mbtree=0"}
_QUICKLY = {**_ENCODER, "preset": "ultrafast"}
_THREADS = 4  # x264's output depends on how many threads share the work, so it must not follow the machine
_BT709 = 1  # the code point of BT.709 in ITU-T H.273, for matrix, primaries and transfer alike
_LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG: luma 16 to 235, what every player assumes of yuv420p


def write_mp4(
    path: Path,
    frames: Iterable[Frame],
    fps: int,
    *,
    sound: Sound | None = None,
    quick: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Encode ``frames`` to ``path`` as H.264, yuv420p (BT.709), the index in front (faststart).

    Frames are uint8 [height, width, 3] RGB, all of one even size, ``fps`` to the second; one is held at a
    time. ``sound`` is float32 [samples], -1 to 1, ``SOUND_RATE`` to the second, and becomes a mono AAC track.
    ``quick`` takes a third of the time, for a larger file. ``metadata`` is kept under any key.
    The same silent frames, fps and metadata give the same bytes with the same FFmpeg build, whatever the
    machine's core count: no clock enters the file. A file that could not be finished is removed.

    Raises:
        ValueError: no frames, or a frame whose size is odd, differs from the first's, or is not uint8 RGB;
            sound of another shape or type.
    """
    import av

    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError("no frames to write")
    _check(first, first.shape)
    if sound is not None and (sound.ndim != 1 or sound.dtype != "float32"):
        raise ValueError(f"sound must be float32 [samples], not {sound.dtype} {list(sound.shape)}")
    # fflags bitexact keeps the muxer from writing its version and the time
    options = {"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"}
    try:
        with av.open(str(path), "w", format="mp4", options=options) as container:
            container.metadata.update(metadata or {})
            stream = _stream(container, first, fps, _QUICKLY if quick else _ENCODER)
            track = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound is not None else None
            for index, frame in enumerate(chain([first], remaining)):
                _check(frame, first.shape)
                container.mux(stream.encode(_picture(frame, index, fps)))
                if track is not None and sound is not None:
                    _mux_sound(container, track, sound, index, fps)
            container.mux(stream.encode())
            if track is not None:
                container.mux(track.encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check(frame: Frame, expected: tuple[int, ...]) -> None:
    if frame.dtype != "uint8" or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame must be uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}")
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"yuv420p needs even sides, not {width}x{height}")
    if frame.shape != expected:
        raise ValueError(f"a frame of {width}x{height} in a clip of {expected[1]}x{expected[0]}")


def _stream(container: OutputContainer, first: Frame, fps: int, options: dict[str, str]) -> VideoStream:
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = _THREADS
    context.gop_size = 2 * fps
    context.color_range = _LIMITED
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    return stream


def _picture(frame: Frame, index: int, fps: int) -> VideoFrame:
    from av import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace

    picture = VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
    )
    picture.pts = index
    picture.time_base = Fraction(1, fps)
    return picture


def _mux_sound(container: OutputContainer, track: AudioStream, sound: Sound, index: int, fps: int) -> None:
    """Encode what is heard during frame ``index``, so that the tracks lie side by side in the file."""
    from av import AudioFrame

    start, end = (SOUND_RATE * at // fps for at in (index, index + 1))
    heard = sound[start:end]
    if not heard.size:
        return
    frame = AudioFrame.from_ndarray(heard[None, :], format="fltp", layout="mono")
    frame.sample_rate = SOUND_RATE
    frame.pts = start
    frame.time_base = Fraction(1, SOUND_RATE)
    container.mux(track.encode(frame))
