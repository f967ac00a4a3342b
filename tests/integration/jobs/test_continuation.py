"""A prefix preview's state: kept with its video, gone on from by a final render, gone when the video is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import artefacts
from gateway.jobs import checkpoints, retention
from gateway.jobs.accept import accept
from gateway.jobs.continuation import continuation
from gateway.jobs.control import delete_video
from gateway.jobs.errors import CheckpointMissing, NotContinuable, NotFinished
from gateway.jobs.render import render
from gateway.jobs.retention import sweep_orphans, sweep_videos
from gateway.jobs.settle import settle
from gateway.media import StoreFull
from gateway.routing.gather import read_timings
from gateway.spec import Device
from tests._stepper import OFFER, PREVIEW, Stepper

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")
GO_ON = threading.Event()


@pytest.fixture
def stepper() -> Stepper:
    return Stepper()


@pytest.fixture
def make(make_world: Callable[..., World], stepper: Stepper) -> Callable[..., World]:
    def build(**settings: Any) -> World:
        world = make_world(offers=(OFFER,), **settings)
        world.runtime.registry.adapters["stepper"] = stepper  # type: ignore[index]  # it is a dict
        return world

    return build


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


def _run(world: World, video_id: str) -> str:
    attempt = world.attempt(video_id)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)
    return str(attempt.id)


def _preview(world: World, **fields: Any) -> str:
    video_id = world.accept(**PREVIEW | fields)
    _run(world, video_id)
    assert world.video(video_id).status == "completed"
    return video_id


def _continue(world: World, video_id: str) -> str:
    asked = continuation(world.runtime, world.caller, video_id)
    return str(accept(world.runtime, world.caller, asked, {}, reply=lambda v: {"id": v.id}).reply["id"])


def _state(world: World, video_id: str) -> sa.Row[Any]:
    query = sa.select(artefacts).where(artefacts.c.video_id == video_id, artefacts.c.variant == "checkpoint")
    with world.runtime.db.read() as connection:
        return connection.execute(query).one()


def _kept(world: World) -> list[str]:
    return [entry.key for entry in world.runtime.store.keys("checkpoints")]


def test_the_newest_state_becomes_a_file_of_the_finished_preview(world: World) -> None:
    video_id = world.accept(**PREVIEW)
    assert world.video(video_id).continuable is False
    attempt_id = world.attempt(video_id).id
    render(world.runtime, attempt_id, SLOT)
    newest = world.attempt(video_id).checkpoints[0]
    assert world.video(video_id).continuable is False, "it is not settled"
    settle(world.runtime, attempt_id)

    state = _state(world, video_id)
    assert (state.key, state.sha256, state.bytes) == (newest["key"], newest["sha256"], newest["bytes"])
    assert (state.attempt_id, state.media_type) == (attempt_id, "application/octet-stream")
    assert (state.width, state.duration_ms, state.deleted_at) == (None, None, None)
    assert world.runtime.store.read(state.key) == b"step 2 of a red circle"
    assert _kept(world) == [state.key], "the older ones are gone"
    assert world.video(video_id).continuable is True
    settle(world.runtime, attempt_id)
    assert _kept(world) == [state.key], "settled again"


def test_of_any_other_render_no_state_is_left(world: World) -> None:
    video_id = _preview(world, preset="whole", mode="final")
    assert world.attempt(video_id).checkpoints
    assert _kept(world) == []
    assert world.video(video_id).continuable is False
    with pytest.raises(NotContinuable, match="whole"):
        continuation(world.runtime, world.caller, video_id)


def test_the_final_render_goes_on_from_it_for_what_is_left_of_the_price(
    world: World, stepper: Stepper
) -> None:
    preview = _preview(world)
    final = _continue(world, preview)
    attempt = world.attempt(final)
    assert (attempt.offer, attempt.preset, attempt.tuned) == ("stepper/echo", "whole", True)
    assert world.money(final)["hold"] == attempt.estimate_micro_usd == 6_000
    assert stepper.begun_from[_run(world, final)] == b"step 2 of a red circle"

    video = world.video(final)
    assert (video.status, video.mode, video.continued_from) == ("completed", "final", preview)
    assert video.continuable is False
    charges = [world.money(one)["charge"] for one in (preview, final)]
    assert charges == [4_000, 6_000]
    assert world.problems() == []
    again = _continue(world, preview)
    assert stepper.begun_from[_run(world, again)] == b"step 2 of a red circle"


def test_it_is_the_same_request_but_for_mode_and_preset(make: Callable[..., World]) -> None:
    world = make(policy="cheapest")
    preview = _preview(world, model="auto", fps=8, options={"echo": {}})
    asked = continuation(world.runtime, world.caller, preview)
    assert (asked.model, asked.mode, asked.preset) == ("echo", "final", "whole")
    assert (asked.prompt, asked.seed, asked.fps, asked.size) == ("a red circle", 7, 8, "64x64")
    assert asked.options == {"echo": {}}
    assert asked.continues is not None
    state = _state(world, preview)
    assert asked.continues.model_dump() == {
        "video_id": preview,
        "attempt_id": state.attempt_id,
        "offer": "stepper/echo",
        "account": "local",
        "done_preset": "prefix",
        "checkpoint": state.key,
        "sha256": state.sha256,
    }


def test_its_time_is_no_measure_for_whole_renders(world: World) -> None:
    preview = _preview(world)
    for _ in range(3):
        _run(world, _continue(world, preview))
    with world.runtime.db.read() as connection:
        measured = {(offer, preset) for offer, preset, _ in read_timings(connection)}
    assert measured == {("stepper/echo", "prefix")}


def test_a_state_that_is_lost_meanwhile_means_from_the_beginning(world: World, stepper: Stepper) -> None:
    preview = _preview(world)
    final = _continue(world, preview)
    delete_video(world.runtime, world.caller, preview)
    assert stepper.begun_from[_run(world, final)] is None
    assert world.video(final).status == "completed"
    assert world.problems() == []


def test_a_state_that_is_damaged_meanwhile_is_not_gone_on_from(world: World, stepper: Stepper) -> None:
    preview = _preview(world)
    final = _continue(world, preview)
    key = _state(world, preview).key
    world.runtime.store.delete(key)
    world.runtime.store.put(key, b"step 2 of a red circlf")
    assert stepper.begun_from[_run(world, final)] is None
    assert world.video(final).status == "completed"


def test_a_preview_whose_state_could_not_be_kept_says_that_it_cannot_be_continued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> bool:
        raise StoreFull("no space left")

    monkeypatch.setattr(checkpoints, "keep", full)
    preview = world.video(_preview(world))
    assert preview.continuable is False
    assert "not_continuable" in [note["code"] for note in preview.notes]


def test_a_continuation_that_fails_moves_to_no_other_offer(world: World, stepper: Stepper) -> None:
    final = _continue(world, _preview(world))
    stepper.broken = True
    _run(world, final)
    video = world.video(final)
    assert (video.status, video.error_code, len(video.attempts)) == ("failed", "render_failed", 1)
    assert video.charge_micro_usd == 0
    assert world.problems() == []


def test_what_is_not_finished_or_failed_cannot_be_continued(world: World, stepper: Stepper) -> None:
    video_id = world.accept(**PREVIEW)
    with pytest.raises(NotFinished):
        continuation(world.runtime, world.caller, video_id)
    stepper.broken = True
    _run(world, video_id)
    with pytest.raises(NotContinuable, match="it failed"):
        continuation(world.runtime, world.caller, video_id)
    assert _kept(world) == []


def test_deleting_the_preview_removes_its_state(world: World) -> None:
    preview = _preview(world)
    delete_video(world.runtime, world.caller, preview)
    assert _kept(world) == []


def test_the_state_expires_with_the_preview(make: Callable[..., World]) -> None:
    world = make(keep_videos_days=30)
    old, young = _preview(world), _preview(world)
    world.update_video(old, expires_at=now() - timedelta(seconds=1))
    assert sweep_videos(world.runtime, GO_ON) == 1
    assert _kept(world) == [_state(world, young).key]
    assert [world.video(one).continuable for one in (old, young)] == [False, True]
    with pytest.raises(CheckpointMissing):
        continuation(world.runtime, world.caller, old)


def test_the_sweep_of_orphans_leaves_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    preview = _preview(world)
    world.runtime.store.put(f"checkpoints/{preview}/att_x-1-1", b"of a writer that died")
    monkeypatch.setattr(retention, "ORPHAN_AFTER", timedelta(seconds=-60))
    assert sweep_orphans(world.runtime, GO_ON) == 1
    assert _kept(world) == [_state(world, preview).key]


def test_a_state_that_storage_lost_is_missed_before_anything_is_accepted(world: World) -> None:
    preview = _preview(world)
    world.runtime.store.delete(_state(world, preview).key)
    with pytest.raises(CheckpointMissing):
        continuation(world.runtime, world.caller, preview)
