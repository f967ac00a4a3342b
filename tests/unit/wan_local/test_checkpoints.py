"""Renders that keep their state, go on from it, stop early on purpose, and show pictures meanwhile."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from adapters.wan_local import _watch
from adapters.wan_local._adapter import WanLocal
from adapters.wan_local.engine import Checkpoint
from gateway.kit.testing import FakeControl, decode
from gateway.spec import BadRequest, Cancelled, Continues, Device, Job

CPU = Device(pool="cpu", slot=0, kind="cpu")
T2V, I2V, TI2V = "wan-2.2-t2v-a14b-tiny", "wan-2.2-i2v-a14b-tiny", "wan-2.2-ti2v-5b-tiny"
Makes = Callable[..., WanLocal]
Jobs = Callable[..., Job]
Controls = Callable[..., FakeControl]
Renders = Callable[[WanLocal, Job], bytes]


def always(control: FakeControl) -> bool:
    return True


def continuing(job: Job, state: bytes | None, preview: str | None = None, **change: Any) -> Job:
    """The same job, going on from the state of the attempt ``preview``."""
    came_from = Continues(
        video_id="video_x",
        attempt_id=preview or job.tag,
        offer=job.offer.id,
        done_preset="prefix",
        checkpoint="checkpoints/x",
        sha256="0" * 64,
    )
    request = job.request.model_copy(update={"continues": came_from, **change})
    return dataclasses.replace(job, request=request, read_checkpoint=lambda: state)


@pytest.mark.parametrize("model", [T2V, I2V, TI2V])
def test_a_render_that_is_run_again_goes_on_where_it_was(
    model: str, make: Makes, job: Jobs, control: Controls, png: Callable[..., bytes]
) -> None:
    adapter = make()
    mine = job(model, first_frame=png() if model == I2V else None)
    first = control(keep_when=always)
    whole = adapter.render(mine, CPU, first)
    assert [Checkpoint.from_bytes(state).step for state in first.kept] == [1, 2, 3, 4]
    assert whole.notes == ()
    for state in first.kept:
        step = Checkpoint.from_bytes(state).step
        again = control(checkpoints=[state])
        asset = adapter.render(mine, CPU, again)
        assert asset.path.read_bytes() == whole.path.read_bytes()
        (note,) = asset.notes
        assert (note.code, note.detail) == (
            "resumed",
            f"went on after step {step} of 4 of an interrupted run",
        )
        denoising = [report for report in again.reports if report[0] == "denoise"]
        assert len(denoising) == 4 - step
        assert again.reports[-1] == ("decode", 100, 100)


def test_a_state_is_kept_only_when_one_is_due(make: Makes, job: Jobs, control: Controls) -> None:
    idle = control()
    make().render(job(T2V), CPU, idle)
    assert idle.kept == []
    assert idle.previews == []
    halfway = control(keep_when=lambda seen: len(seen.reports) == 3)
    make().render(job(T2V), CPU, halfway)
    assert len(halfway.kept) == 1


def test_a_render_told_to_stop_keeps_its_last_step_first(make: Makes, job: Jobs, control: Controls) -> None:
    adapter = make()

    def told(seen: FakeControl) -> bool:
        return any(stage == "denoise" for stage, _, _ in seen.reports)

    stopped = control(cancel_when=told, keep_when=told)
    with pytest.raises(Cancelled):
        adapter.render(job(T2V), CPU, stopped)
    assert [Checkpoint.from_bytes(state).step for state in stopped.kept] == [1]


def test_a_damaged_state_is_passed_over_for_the_one_before(
    make: Makes, job: Jobs, control: Controls, bytes_of: Renders
) -> None:
    adapter = make()
    kept = control(keep_when=always)
    whole = adapter.render(job(T2V), CPU, kept).path.read_bytes()
    good, newest = kept.kept[0], kept.kept[2]
    for damaged in (newest[:-1], newest[:500] + b"?" + newest[501:], b"", b"\x80\x04pickle"):
        asset = adapter.render(job(T2V), CPU, control(checkpoints=[damaged, good]))
        assert asset.path.read_bytes() == whole
        assert [note.detail for note in asset.notes] == ["went on after step 1 of 4 of an interrupted run"]
    nothing_left = adapter.render(job(T2V), CPU, control(checkpoints=[newest[:-1]]))
    assert nothing_left.path.read_bytes() == whole
    assert [note.code for note in nothing_left.notes] == ["restarted"]


def test_a_state_of_other_work_starts_again_and_says_why(
    make: Makes, job: Jobs, control: Controls, bytes_of: Renders
) -> None:
    adapter = make()
    other = control(keep_when=always)
    adapter.render(job(T2V, prompt="something else"), CPU, other)
    asset = adapter.render(job(T2V), CPU, control(checkpoints=other.kept[::-1]))
    assert asset.path.read_bytes() == bytes_of(adapter, job(T2V))
    (note,) = asset.notes
    assert note.code == "restarted"
    assert "another prompt" in note.detail


def test_the_kept_work_of_an_interrupted_run_is_billed_and_no_step_twice(
    make: Makes, job: Jobs, control: Controls
) -> None:
    adapter = make()
    first = control(keep_when=always)
    adapter.render(job(T2V), CPU, first)
    state = dataclasses.replace(Checkpoint.from_bytes(first.kept[1]), seconds=1000.0).to_bytes()
    again = control(checkpoints=[state], keep_when=always)
    used = adapter.render(job(T2V), CPU, again).usage.device_ms
    assert used is not None
    assert 1_000_000 < used < 1_060_000
    assert Checkpoint.from_bytes(again.kept[0]).seconds > 1000.0


@pytest.mark.parametrize("model", [T2V, I2V, TI2V])
def test_a_prefix_preview_keeps_its_state_and_is_finished_from_it(
    model: str, make: Makes, job: Jobs, control: Controls, png: Callable[..., bytes]
) -> None:
    adapter = make()
    image = png() if model == I2V else None
    shown = control()
    preview = adapter.render(job(model, preset="prefix", first_frame=image), CPU, shown)
    (state,) = shown.kept
    assert (Checkpoint.from_bytes(state).step, Checkpoint.from_bytes(state).total) == (2, 4)
    assert shown.reports[-1] == ("decode", 100, 100)
    official = job(model, preset="official", first_frame=image)
    whole = adapter.render(official, CPU, control())
    clip = decode(preview.path.read_bytes())
    assert (clip.width, clip.height, clip.frames) == (128, 64, decode(whole.path.read_bytes()).frames)
    final = adapter.render(continuing(official, state), CPU, control())
    assert final.path.read_bytes() == whole.path.read_bytes()
    assert preview.path.read_bytes() != whole.path.read_bytes()
    assert [note.detail for note in final.notes] == ["went on after step 2 of 4 of the preview"]
    assert final.usage.device_ms is not None
    assert final.usage.device_ms < 60_000


def test_the_preview_is_not_billed_again_with_the_final(make: Makes, job: Jobs, control: Controls) -> None:
    adapter = make()
    shown = control()
    adapter.render(job(T2V, preset="prefix"), CPU, shown)
    state = dataclasses.replace(Checkpoint.from_bytes(shown.kept[0]), seconds=1000.0).to_bytes()
    used = adapter.render(continuing(job(T2V, preset="official"), state), CPU, control()).usage.device_ms
    assert used is not None
    assert used < 60_000


@pytest.mark.parametrize("lost", [False, True])
def test_a_final_without_a_seed_takes_its_previews_whatever_became_of_the_state(
    lost: bool, make: Makes, job: Jobs, control: Controls
) -> None:
    adapter = make()
    shown = control()
    looked_at = job(T2V, preset="prefix", seed=None)
    preview = adapter.render(looked_at, CPU, shown)
    official = job(T2V, preset="official", seed=None)
    state = None if lost else shown.kept[0]
    final = adapter.render(continuing(official, state, preview=looked_at.tag), CPU, control())
    assert final.notes[0].code == ("restarted" if lost else "resumed")
    seeds = [note.detail for note in (*preview.notes, *final.notes) if note.code == "seed_used"]
    assert len(seeds) == 2
    assert seeds[0] == seeds[1]


def test_a_preview_that_is_run_again_goes_on_from_its_own_states(
    make: Makes, job: Jobs, control: Controls
) -> None:
    adapter, mine = make(), job(T2V, preset="prefix")
    first = control(keep_when=lambda seen: not seen.kept)
    whole = adapter.render(mine, CPU, first)
    assert [Checkpoint.from_bytes(state).step for state in first.kept] == [1, 2]
    halfway, finished = control(checkpoints=first.kept[:1]), control(checkpoints=first.kept[::-1])
    for again, step in ((halfway, 1), (finished, 2)):
        asset = adapter.render(mine, CPU, again)
        assert asset.path.read_bytes() == whole.path.read_bytes()
        assert [note.detail for note in asset.notes] == [
            f"went on after step {step} of 4 of an interrupted run"
        ]
    assert [Checkpoint.from_bytes(state).step for state in halfway.kept] == [2]
    assert finished.kept == [], "what is kept already, and kept again, would look like progress"


def test_a_state_is_due_while_frames_are_decoded_too(make: Makes, job: Jobs, control: Controls) -> None:
    late = control(keep_when=lambda seen: seen.reports[-1][0] == "decode")
    adapter = make()
    whole = adapter.render(job(T2V), CPU, late)
    (state,) = late.kept
    assert Checkpoint.from_bytes(state).step == 4
    again = adapter.render(job(T2V), CPU, control(checkpoints=[state]))
    assert again.path.read_bytes() == whole.path.read_bytes()


def test_a_picture_that_fails_costs_no_render(
    make: Makes, job: Jobs, control: Controls, bytes_of: Renders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> bytes:
        raise OSError("no encoder")

    adapter = make()
    expected = bytes_of(adapter, job(T2V))
    monkeypatch.setattr(_watch, "animate", broken)
    asked: list[None] = []
    watched = control(show_when=lambda seen: not asked.append(None))
    assert adapter.render(job(T2V), CPU, watched).path.read_bytes() == expected
    assert watched.previews == []
    assert len(asked) == 1, "it is not tried again in this render"


@pytest.mark.parametrize("state", [None, b"", b"reelgate-wan-checkpoint 1\nno"])
def test_a_preview_whose_state_is_lost_is_made_from_the_beginning_and_says_so(
    state: bytes | None, make: Makes, job: Jobs, control: Controls, bytes_of: Renders
) -> None:
    adapter, official = make(), job(T2V, preset="official")
    asset = adapter.render(continuing(official, state), CPU, control())
    assert asset.path.read_bytes() == bytes_of(adapter, official)
    (note,) = asset.notes
    assert note.code == "restarted"
    assert "from the beginning" in note.detail


def test_a_final_that_was_interrupted_itself_goes_on_from_its_own_state(
    make: Makes, job: Jobs, control: Controls
) -> None:
    adapter, official = make(), job(T2V, preset="official")
    shown = control()
    adapter.render(job(T2V, preset="prefix"), CPU, shown)
    final = continuing(official, shown.kept[0])
    first = control(keep_when=always)
    whole = adapter.render(final, CPU, first).path.read_bytes()
    assert [Checkpoint.from_bytes(state).step for state in first.kept] == [3, 4]
    asset = adapter.render(final, CPU, control(checkpoints=first.kept[:1]))
    assert asset.path.read_bytes() == whole
    assert asset.notes[0].detail == "went on after step 3 of 4 of an interrupted run"


def test_the_preview_is_not_billed_when_its_final_is_interrupted_either(
    make: Makes, job: Jobs, control: Controls
) -> None:
    adapter, official = make(), job(T2V, preset="official")
    shown = control()
    adapter.render(job(T2V, preset="prefix"), CPU, shown)
    state = dataclasses.replace(Checkpoint.from_bytes(shown.kept[0]), seconds=1000.0).to_bytes()
    final = continuing(official, state)
    first = control(keep_when=always)
    adapter.render(final, CPU, first)
    used = adapter.render(final, CPU, control(checkpoints=first.kept[:1])).usage.device_ms
    assert used is not None
    assert used < 60_000


def test_a_preview_of_too_few_steps_is_refused(make: Makes, job: Jobs, control: Controls) -> None:
    for steps, says in ((2, "of this job's 2 they may be 1 to 1"), (1, "of this job's 1 there are too few")):
        with pytest.raises(BadRequest, match=rf"2 preview steps: {says}.*for more in all\.$"):
            make().render(job(T2V, preset="prefix", options={"steps": steps}), CPU, control())


def test_pictures_are_small_moving_webp(make: Makes, job: Jobs, control: Controls) -> None:
    watched = control(show_when=lambda seen: len(seen.previews) < 3)
    make().render(job(T2V, seconds="2"), CPU, watched)
    assert len(watched.previews) == 3
    for data, media_type in watched.previews:
        assert media_type == "image/webp"
        assert len(data) < 20_000
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (160, 80))
            assert picture.n_frames > 1  # type: ignore[attr-defined]  # of the WebP plugin
            assert picture.info["loop"] == 0
    assert watched.previews[0] != watched.previews[2]


def test_watching_does_not_change_the_clip(
    make: Makes, job: Jobs, control: Controls, bytes_of: Renders
) -> None:
    adapter = make()
    watched = control(show_when=always, keep_when=always)
    assert adapter.render(job(T2V), CPU, watched).path.read_bytes() == bytes_of(adapter, job(T2V))
