"""write_mp4: what a decoder, and a player over HTTP, make of the file."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from gateway.kit.testing import decode
from gateway.kit.video import SOUND_RATE, write_mp4


def frames(count: int, width: int = 64, height: int = 48) -> Iterator[npt.NDArray[np.uint8]]:
    for index in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, : 1 + index] = (250, 120, 20)
        yield frame


def test_the_decoder_sees_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, frames(17), fps=12)
    seen = decode(path)
    assert (seen.width, seen.height, float(seen.fps), seen.frames) == (64, 48, 12.0, 17)
    assert (seen.codec, seen.pix_fmt, seen.has_audio) == ("h264", "yuv420p", False)


def test_colours_come_back_as_they_went_in(tmp_path: Path) -> None:
    colour = (200, 60, 90)
    write_mp4(tmp_path / "clip.mp4", [np.full((64, 64, 3), colour, np.uint8)] * 4, fps=8)
    with av.open(str(tmp_path / "clip.mp4"), "r") as container:
        middle = next(container.decode(video=0)).to_ndarray(format="rgb24")[32, 32]
    assert np.abs(middle.astype(int) - colour).max() <= 4


def test_the_index_stands_before_the_data(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, frames(4), fps=8)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_same_input_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_mp4(tmp_path / name, frames(9), fps=8, metadata={"title": "fox"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_metadata_is_kept_under_any_key(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, frames(2), fps=8, metadata={"title": "雪", "reelgate_video": "video_1"})
    with av.open(str(path), "r") as container:
        assert container.metadata["title"] == "雪"
        assert container.metadata["reelgate_video"] == "video_1"


def test_frames_are_not_collected(tmp_path: Path) -> None:
    alive: list[weakref.ref[npt.NDArray[np.uint8]]] = []
    most = 0

    def counted() -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal most
        for frame in frames(60):
            alive.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in alive))
            yield frame

    write_mp4(tmp_path / "clip.mp4", counted(), fps=30)
    gc.collect()
    assert most <= 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no frames"),
        ([np.zeros((48, 63, 3), np.uint8)], "63x48"),
        ([np.zeros((47, 64, 3), np.uint8)], "64x47"),
        ([np.zeros((48, 64), np.uint8)], r"uint8 \[48, 64\]"),
        ([np.zeros((48, 64, 3), np.float32)], "float32"),
        ([np.zeros((48, 64, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)], "32x48 in a clip of 64x48"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_no_file(
    tmp_path: Path, given: list[npt.NDArray[np.uint8]], message: str
) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(ValueError, match=message):
        write_mp4(path, given, fps=8)
    assert not path.exists()


def test_a_render_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[npt.NDArray[np.uint8]]:
        yield from frames(3)
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_mp4(tmp_path / "clip.mp4", broken(), fps=8)
    assert list(tmp_path.iterdir()) == []


def test_sound_lies_beside_the_picture(tmp_path: Path) -> None:
    tone = np.sin(np.arange(SOUND_RATE * 2) / 20).astype(np.float32)
    write_mp4(tmp_path / "clip.mp4", frames(25), fps=24, sound=tone)
    seen = decode(tmp_path / "clip.mp4")
    assert (seen.frames, seen.has_audio) == (25, True)
    with av.open(str(tmp_path / "clip.mp4"), "r") as container:
        heard = np.concatenate([part.to_ndarray()[0] for part in container.decode(audio=0)])
    assert len(heard) == pytest.approx(SOUND_RATE * 25 / 24, abs=2048)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(0.5), rel=0.15)


@pytest.mark.parametrize(
    "sound", [np.zeros((1, 9), np.float32), np.zeros(9, np.int16)], ids=["two axes", "integers"]
)
def test_sound_of_another_kind_is_refused(tmp_path: Path, sound: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="sound must be"):
        write_mp4(tmp_path / "clip.mp4", frames(2), fps=8, sound=sound)
    assert not (tmp_path / "clip.mp4").exists()


def test_quick_shows_the_same(tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", frames(9), fps=8, quick=True)
    seen = decode(tmp_path / "clip.mp4")
    assert (seen.width, seen.height, seen.frames, seen.pix_fmt) == (64, 48, 9, "yuv420p")
