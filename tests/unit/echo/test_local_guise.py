"""Echo's local guise: pace, accidents, and what it draws."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from adapters.echo import register_adapters
from adapters.echo._draw import draw
from adapters.echo._drawing import Drawing, drawing_of
from adapters.echo._state import State, newest, pack
from gateway.kit.cards import load_cards
from gateway.kit.testing import FakeControl, decode, make_job
from gateway.spec import Cancelled, Device, LocalAdapter, OutOfMemory, PluginContext, RenderError

CPU = Device(pool="cpu", slot=0, kind="cpu")
OFFER = next(offer for offer in load_cards("adapters.echo").offers if offer.adapter == "echo")
FOX = Drawing(prompt="fox", seed=1, size="64x48", frames=6, fps=8)


def echo(folder: Path, **section: object) -> LocalAdapter:
    context = PluginContext(settings={"echo": section}, data_dir=folder)
    (found,) = (one for one in register_adapters(context) if isinstance(one, LocalAdapter))
    return found


def test_the_same_job_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    clips = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        job = make_job(OFFER, seed=seed)
        clips.append(echo(tmp_path).render(job, CPU, FakeControl(tmp_path / name)).path.read_bytes())
    assert clips[0] == clips[1] != clips[2]


@pytest.mark.parametrize(
    ("size", "seconds", "fps", "frames"),
    [("32x32", "0.5", 1, 1), ("32x32", "0.5", 5, 2), ("34x180", "1.5", 16, 24), ("320x180", "2", 16, 32)],
)
def test_every_size_and_length_on_the_card_can_be_drawn(
    tmp_path: Path, size: str, seconds: str, fps: int, frames: int
) -> None:
    job = make_job(OFFER, size=size, seconds=seconds, fps=fps)
    seen = decode(echo(tmp_path).render(job, CPU, FakeControl(tmp_path)).path)
    assert (f"{seen.width}x{seen.height}", float(seen.fps), seen.frames) == (size, float(fps), frames)


@pytest.mark.parametrize(
    "prompt", ["x" * 32_000, "雪の中の狐 🦊", "a\x00b\u202ec\n\n\td", " ", "word " * 500]
)
def test_any_prompt_can_be_burnt_in(prompt: str) -> None:
    (frame,) = draw(FOX.model_copy(update={"prompt": prompt, "frames": 1}))
    assert frame.shape == (48, 64, 3)


def test_the_pattern_moves_and_the_words_show() -> None:
    first, *_, last = draw(FOX)
    assert np.abs(first.astype(int) - last).mean() > 5
    (other,) = draw(FOX.model_copy(update={"prompt": "bear", "frames": 1}))
    assert (first[:24] != other[:24]).any()
    assert (first[40:] == other[40:]).all()


def test_a_first_frame_shines_through() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 20), (255, 0, 0)).save(buffer, "PNG")
    (frame,) = draw(FOX.model_copy(update={"frames": 1}), buffer.getvalue())
    red, green, blue = frame.reshape(-1, 3).mean(axis=0)
    assert red > 180
    assert max(green, blue) < 90


def test_the_prompt_is_in_the_file(tmp_path: Path) -> None:
    asset = echo(tmp_path).render(make_job(OFFER, prompt="a fox"), CPU, FakeControl(tmp_path))
    with av.open(str(asset.path), "r") as container:
        assert container.metadata["title"] == "a fox"


def test_latency_is_the_least_a_render_takes_and_a_caller_may_change_it(tmp_path: Path) -> None:
    adapter = echo(tmp_path, latency_ms=60_000)
    started = time.monotonic()
    asset = adapter.render(make_job(OFFER, options={"latency_ms": 200}), CPU, FakeControl(tmp_path))
    assert 0.2 <= time.monotonic() - started < 10
    assert asset.usage.device_ms is not None
    assert asset.usage.device_ms >= 200


def test_a_long_wait_between_frames_can_be_cancelled(tmp_path: Path) -> None:
    asked = 0

    def third_time(control: FakeControl) -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    job = make_job(OFFER, seconds="0.5", fps=2, options={"latency_ms": 10_000})
    started = time.monotonic()
    with pytest.raises(Cancelled):
        echo(tmp_path).render(job, CPU, FakeControl(tmp_path, third_time))
    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


def _controls(folder: Path, **given: Any) -> FakeControl:
    made = Path(tempfile.mkdtemp(dir=folder))
    return FakeControl(made, **given)


def test_a_render_that_goes_on_takes_the_time_that_is_left_and_counts_the_time_before(tmp_path: Path) -> None:
    job = make_job(OFFER, seconds="1", fps=8, options={"latency_ms": 60_000})
    state = pack(State(drawing=drawing_of(job), frames=8, device_ms=52_500))
    started = time.monotonic()
    asset = echo(tmp_path).render(job, CPU, _controls(tmp_path, checkpoints=[state]))
    assert time.monotonic() - started < 10
    assert asset.usage.device_ms is not None
    assert 52_500 <= asset.usage.device_ms < 62_500
    assert [(note.code, note.detail) for note in asset.notes] == [("resumed", "went on from frame 8 of 8")]


def test_a_render_that_goes_on_never_keeps_less_than_it_began_with(tmp_path: Path) -> None:
    job = make_job(OFFER, seconds="1", fps=8)
    state = pack(State(drawing=drawing_of(job), frames=5, device_ms=500))
    control = _controls(tmp_path, checkpoints=[state], keep_when=lambda seen: True)
    echo(tmp_path).render(job, CPU, control)
    found = [newest([kept], drawing_of(job)) for kept in control.kept]
    assert [kept.frames for kept in found] == [5, 5, 5, 5, 5, 5, 6, 7]
    assert all(kept.device_ms >= 500 for kept in found)


def test_a_state_says_which_frames_are_done_and_no_more_time_than_they_took(tmp_path: Path) -> None:
    job = make_job(OFFER, seconds="0.5", fps=4, options={"latency_ms": 200})
    control = _controls(tmp_path, keep_when=lambda seen: True)
    assert echo(tmp_path).render(job, CPU, control).notes == ()
    found = [newest([kept], drawing_of(job)) for kept in control.kept]
    assert {state.frames for state in found} == {0, 1}
    assert len({state.device_ms for state in found}) == 2, "what is not done yet is not counted"


def test_the_state_of_another_drawing_is_not_gone_on_from(tmp_path: Path) -> None:
    job = make_job(OFFER)
    other = drawing_of(make_job(OFFER, seed=8))
    control = _controls(tmp_path, checkpoints=[pack(State(drawing=other, frames=5))])
    asset = echo(tmp_path).render(job, CPU, control)
    assert (asset.notes, control.handed_out) == ((), 1)


def test_a_preview_is_a_small_picture_of_the_frame(tmp_path: Path) -> None:
    job = make_job(OFFER, size="1280x720", seconds="0.5", fps=4)
    control = _controls(tmp_path, show_when=lambda seen: True)
    echo(tmp_path).render(job, CPU, control)
    frames = list(draw(drawing_of(job)))
    assert len(control.previews) == len(frames) == 2
    for (picture, media_type), frame in zip(control.previews, frames, strict=True):
        with Image.open(io.BytesIO(picture)) as opened:
            assert (opened.size, opened.get_format_mimetype()) == ((320, 180), media_type)
            shown = np.asarray(opened.convert("RGB"), dtype=int)
        small = np.asarray(Image.fromarray(frame).resize((320, 180)), dtype=int)
        assert np.abs(shown - small).mean() < 12


@pytest.mark.parametrize(("fail", "error"), [("render", RenderError), ("oom", OutOfMemory)])
def test_accidents_happen_halfway_and_leave_nothing(
    tmp_path: Path, fail: str, error: type[RenderError]
) -> None:
    control = FakeControl(tmp_path)
    with pytest.raises(RenderError) as caught:
        echo(tmp_path, fail=fail).render(make_job(OFFER), CPU, control)
    assert type(caught.value) is error
    assert control.reports[-1] == ("render", 4, 8)
    assert list(tmp_path.iterdir()) == []


def test_one_job_in_so_many_meets_with_an_accident_and_always_the_same(tmp_path: Path) -> None:
    adapter = echo(tmp_path, fail="render", fail_every=4)

    def failed(tag: str) -> bool:
        job = make_job(OFFER, tag=tag, size="32x32", seconds="0.5", fps=2)
        try:
            adapter.render(job, CPU, FakeControl(tmp_path))
        except RenderError:
            return True
        return False

    fates = [failed(f"att_{number}") for number in range(40)]
    assert 3 <= sum(fates) <= 20
    assert fates == [failed(f"att_{number}") for number in range(40)]


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"echo\.latency: "):
        echo(tmp_path, latency=5)
