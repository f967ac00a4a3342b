"""Clips to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

MakeClip = Callable[..., Path]


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Writes an MP4 of given frames (by default a moving pattern), by the muxer's own options."""

    def write(
        *,
        frames: list[np.ndarray] | None = None,
        count: int = 30,
        size: tuple[int, int] = (64, 48),
        fps: int = 16,
        movflags: str = "+faststart",
        audio: bool = False,
        name: str = "clip.mp4",
    ) -> Path:
        pictures = [pattern(i, size) for i in range(count)] if frames is None else frames
        path = tmp_path / name
        with av.open(
            path, "w", format="mp4", options={"movflags": movflags} if movflags else {}
        ) as container:
            video = container.add_stream("libx264", rate=fps, options={"g": "10", "preset": "veryfast"})
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            sound = container.add_stream("aac", rate=44_100, layout="mono") if audio else None
            for picture in pictures:
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.sample_rate = 44_100
                container.mux(sound.encode(silence))
                container.mux(sound.encode())
        return path

    return write


def pattern(index: int, size: tuple[int, int]) -> np.ndarray:
    """A bar that moves, over noise that stays."""
    width, height = size
    frame = np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)
    frame[:, (index * 2) % width :][:, :4] = 255
    return frame
