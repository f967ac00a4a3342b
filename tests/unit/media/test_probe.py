"""Only what decodes to its end is a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from gateway.media import BrokenVideo, Limits, Probe, probe, spritesheet, thumbnail

MakeClip = Callable[..., Path]


@pytest.mark.parametrize("movflags", ["+faststart", "", "+frag_keyframe+empty_moov"])
@pytest.mark.parametrize("audio", [False, True])
def test_a_clip_is_described(make_clip: MakeClip, movflags: str, audio: bool) -> None:
    path = make_clip(movflags=movflags, audio=audio)
    found = probe(path)
    assert found == Probe(
        width=64,
        height=48,
        fps=16.0,
        frames=30,
        duration_ms=1875,
        codec="h264",
        pix_fmt="yuv420p",
        has_audio=audio,
        bytes=path.stat().st_size,
    )
    assert Probe.model_validate_json(found.model_dump_json()) == found


def test_one_frame_is_a_clip(make_clip: MakeClip) -> None:
    found = probe(make_clip(count=1))
    assert (found.frames, found.fps, found.duration_ms) == (1, 16.0, 62)


@pytest.mark.parametrize("movflags", ["+faststart", ""])
def test_cut_anywhere_it_is_broken(make_clip: MakeClip, movflags: str) -> None:
    path = make_clip(movflags=movflags, audio=True)
    whole = path.read_bytes()
    lengths = {0, 1, 7, 8, 31, 100, len(whole) - 1, len(whole) - 20, len(whole) - 300}
    lengths |= {len(whole) * i // 17 for i in range(17)}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        with pytest.raises(BrokenVideo) as caught:
            probe(path)
        assert caught.value.reason, length


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html><body>404 Not Found</body></html>" * 20, "it is a text"),
        (b'\n {"error": "expired"}', "it is a text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "the decoder says"),
        (bytes(5000), "the decoder says"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "the decoder says"),
    ],
)
def test_what_is_no_clip_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    for look in (probe, thumbnail, spritesheet):
        with pytest.raises(BrokenVideo) as caught:
            look(path)
        assert caught.value.reason.startswith(reason)
        assert str(tmp_path) not in caught.value.caller_detail


def test_a_cut_file_is_told_from_a_damaged_one(make_clip: MakeClip) -> None:
    path = make_clip()
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(BrokenVideo, match="cut off"):
        probe(path)
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(len(whole) - half))
    with pytest.raises(BrokenVideo, match="decoder says"):
        probe(path)


def test_what_follows_the_clip_does_no_harm(make_clip: MakeClip) -> None:
    path = make_clip()
    with path.open("ab") as file:
        file.write(b"\x00\x00\x10\x00free and then cut off")
    assert probe(path).frames == 30


def test_metadata_in_another_alphabet_does_no_harm(make_clip: MakeClip) -> None:
    path = make_clip()
    path.write_bytes(path.read_bytes().replace(b"VideoHandler", b"Vid\xe9oHandler"))
    assert probe(path).frames == 30


def test_an_index_that_points_far_away_is_broken(make_clip: MakeClip) -> None:
    path = make_clip(movflags="+frag_keyframe+empty_moov")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"tfhd") + 12] = 0x24  # the highest byte of the fragment's place in the file
    path.write_bytes(data)
    with pytest.raises(BrokenVideo, match="points outside"):
        probe(path)


def test_trouble_with_the_disk_is_not_the_clips(make_clip: MakeClip) -> None:
    """A clip that was paid for must not be thrown away because its file could not be read."""
    path = make_clip()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        probe(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(path, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44_100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 44_100
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with pytest.raises(BrokenVideo, match="no video track"):
        probe(path)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(frames=29), "more than 29 frames"),
        (Limits(frame_pixels=64 * 48 - 1), "64x48 pixels are too large"),
        (Limits(total_pixels=64 * 48 * 30 - 1), "pixels in all its frames"),
    ],
)
def test_limits_end_the_decoding(make_clip: MakeClip, limits: Limits, reason: str) -> None:
    path = make_clip()
    with pytest.raises(BrokenVideo, match=reason):
        probe(path, limits)
    exact = Limits(frames=30, frame_pixels=64 * 48, total_pixels=64 * 48 * 30)
    assert probe(path, exact).frames == 30
