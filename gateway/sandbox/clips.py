"""The clips that fake providers deliver: real MP4s, drawn once for every shape."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gateway.kit.sandbox import Clip
from gateway.sandbox.records import Held

if TYPE_CHECKING:  # the command line must not load the codec libraries to show its help
    from gateway.kit.video import Frame, Sound

_TONE_HZ = 440
_LOUDNESS = 0.2


class Closed(Exception):
    """The sandbox ends: what is being drawn is given up."""


class ClipShelf:
    """A folder with one MP4 of every shape that was asked for; it may be left for the next sandbox."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sandbox-clips")
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._drawn: dict[Clip, Future[Path]] = {}

    def clip(self, clip: Clip) -> Future[Path]:
        """The file with this clip; drawing it starts with the first call.

        Raises:
            ValueError: no such clip can be drawn.
        """
        if clip.width % 2 or clip.height % 2 or min(clip.width, clip.height, clip.fps, frames_of(clip)) <= 0:
            raise ValueError(f"cannot draw {clip}")
        with self._lock:
            if clip not in self._drawn:
                self._drawn[clip] = self._pool.submit(self._draw, clip)
            return self._drawn[clip]

    def close(self) -> None:
        """Give up what is being drawn."""
        self._ending.set()
        self._pool.shutdown(cancel_futures=True)

    def _draw(self, clip: Clip) -> Path:
        from gateway.kit.video import write_mp4

        heard = "tone" if clip.audio else "silent"
        path = self._folder / f"{clip.width}x{clip.height}-{clip.seconds}s-{clip.fps}fps-{heard}.mp4"
        if not path.exists():
            part = path.with_suffix(f".{uuid4().hex}.part")
            sound = _tone(clip) if clip.audio else None
            write_mp4(part, self._frames(clip), clip.fps, sound=sound, quick=True)
            part.replace(path)
        return path

    def _frames(self, clip: Clip) -> Iterator[Frame]:
        """A bar that fills from the top over a flat ground: cheap to draw and to encode."""
        import numpy as np

        count = frames_of(clip)
        frame = np.full((clip.height, clip.width, 3), (40, 70, 110), np.uint8)
        for index in range(count):
            if self._ending.is_set():
                raise Closed
            frame[clip.height * index // count : clip.height * (index + 1) // count] = (230, 150, 40)
            yield frame


def frames_of(clip: Clip) -> int:
    """How many frames a clip has."""
    return round(clip.seconds * clip.fps)


def drawn(held: Held) -> Clip:
    """The clip that a job delivers, which is not what it promised where a fault says so."""
    clip = held.job.clip
    if held.has("wrong_resolution"):
        clip = replace(clip, width=max(2, clip.width // 4 * 2), height=max(2, clip.height // 4 * 2))
    return replace(clip, audio=False) if held.has("missing_audio") else clip


def _tone(clip: Clip) -> Sound:
    import numpy as np

    from gateway.kit.video import SOUND_RATE

    samples = np.arange(SOUND_RATE * frames_of(clip) // clip.fps)
    tone: Sound = (_LOUDNESS * np.sin(2 * np.pi * _TONE_HZ / SOUND_RATE * samples)).astype(np.float32)
    return tone
