"""Previews: shown while a video is made, a few at a time, and none of their pictures stays in SQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.api.events import _line
from gateway.jobs import render_control
from gateway.jobs.control import cancel_video, delete_video
from gateway.jobs.events import PREVIEWS_KEPT
from gateway.jobs.records import Event, events_after
from gateway.jobs.render import render
from gateway.jobs.render_control import PREVIEW_BYTES
from gateway.jobs.settle import settle
from gateway.spec import Asset, Cancelled, Control, Device, Job

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")
EVERY_S = 1e-9


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """Every preview is due."""
    return make_world(preview_every_s=EVERY_S)


@pytest.fixture
def video_id(world: World) -> str:
    return world.accept(model="echo", size="64x64", seconds="0.5", fps=12)


def _events(world: World, video_id: str) -> list[Event]:
    with world.runtime.db.read() as connection:
        return events_after(connection, video_id, 0)


def _previews(world: World, video_id: str) -> list[Event]:
    return [event for event in _events(world, video_id) if event.type == "video.preview"]


def _render_as(world: World, video_id: str, body: Callable[[Control], object]) -> None:
    """Render with this before the adapter's own work; what it finds wrong is no failure of the render."""
    adapter = world.runtime.registry.local("echo", "local")
    own = adapter.render
    wrong: list[AssertionError] = []

    def run(job: Job, device: Device, control: Control) -> Asset:
        try:
            body(control)
        except AssertionError as error:
            wrong.append(error)
        return own(job, device, control)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "render", run)
        render(world.runtime, world.attempt(video_id).id, SLOT)
    for error in wrong:
        raise error


def _picture(event: Event) -> bytes | None:
    image = event.data["image"]
    return base64.b64decode(image.partition(",")[2]) if image is not None else None


def test_a_preview_is_an_event_with_the_picture_the_stage_and_the_progress(
    world: World, video_id: str
) -> None:
    def body(control: Control) -> None:
        control.preview(b"first", "image/png")
        control.progress("denoise", 1, 4)
        control.preview(b"second")
        (first, second) = _previews(world, video_id)
        assert first.data == {"image": "data:image/png;base64,Zmlyc3Q=", "stage": None, "progress": 0}
        assert second.data == {"image": "data:image/webp;base64,c2Vjb25k", "stage": "denoise", "progress": 25}
        id_, kind, data, *end = _line(second).split("\n")
        assert (id_, kind, end) == (f"id: {second.seq}", "event: video.preview", ["", ""])
        assert json.loads(data.removeprefix("data: "))["image"] == second.data["image"]

    _render_as(world, video_id, body)


def test_only_the_newest_few_keep_their_picture(world: World, video_id: str) -> None:
    def body(control: Control) -> None:
        for number in range(6):
            control.preview(b"%d" % number)
        pictures = [_picture(event) for event in _previews(world, video_id)]
        assert pictures == [None] * (6 - PREVIEWS_KEPT) + [b"3", b"4", b"5"]

    _render_as(world, video_id, body)


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_with_the_end_of_the_video_the_pictures_go_and_the_events_stay(
    world: World, video_id: str, end: str
) -> None:
    def body(control: Control) -> None:
        control.preview(b"shown")
        if end == "failed":
            cancel_video(world.runtime, world.caller, video_id)
            raise Cancelled("stopped")

    _render_as(world, video_id, body)
    pictures = [_picture(event) for event in _previews(world, video_id)]
    assert len(pictures) - pictures.count(None) == (PREVIEWS_KEPT if end == "completed" else 1)
    settle(world.runtime, world.attempt(video_id).id)
    assert world.video(video_id).status == end
    history = _events(world, video_id)
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    assert history[-1].type == f"video.{end}"
    previews = _previews(world, video_id)
    assert len(previews) == (7 if end == "completed" else 1), "one, and one of each frame"
    assert {event.data["image"] for event in previews} == {None}
    assert previews[-1].data["progress"] == (99 if end == "completed" else 0)


def test_what_a_tenant_deletes_leaves_no_picture(world: World, video_id: str) -> None:
    _render_as(world, video_id, lambda control: control.preview(b"shown"))
    settle(world.runtime, world.attempt(video_id).id)
    delete_video(world.runtime, world.caller, video_id)
    assert all(_picture(event) is None for event in _previews(world, video_id))


def test_one_that_is_not_due_is_not_shown(make_world: Callable[..., World]) -> None:
    world = make_world(preview_every_s=3600)
    video_id = world.accept(model="echo", size="64x64")
    due: list[bool] = []

    def body(control: Any) -> None:
        for number in range(3):
            due.append(control.preview_due())
            control.preview(b"%d" % number)
            if number == 0:
                control._shown_at -= 3601

    _render_as(world, video_id, body)
    assert due == [False, True, False]
    assert [_picture(event) for event in _previews(world, video_id)] == [b"1"]


def test_without_previews_none_is_due(make_world: Callable[..., World]) -> None:
    world = make_world(preview_every_s=0)
    video_id = world.accept(model="echo", size="64x64")
    due: list[bool] = []

    def body(control: Control) -> None:
        due.append(control.preview_due())
        control.preview(b"all the same")

    _render_as(world, video_id, body)
    assert (due, _previews(world, video_id)) == ([False], [])


def test_one_that_is_too_large_is_dropped(
    world: World, video_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    def body(control: Control) -> None:
        control.preview(b"x" * (PREVIEW_BYTES + 1))
        assert _previews(world, video_id) == []
        control.preview(b"x" * PREVIEW_BYTES)
        assert len(_previews(world, video_id)) == 1

    _render_as(world, video_id, body)
    assert f"a preview of {PREVIEW_BYTES + 1} bytes" in caplog.text


def test_a_worker_taken_for_dead_shows_nothing(world: World, video_id: str) -> None:
    def overtaken(control: Control) -> None:
        world.update(world.attempt(video_id).id, fence=2)
        control.preview(b"of a ghost")

    _render_as(world, video_id, overtaken)
    assert _previews(world, video_id) == []


def test_one_that_cannot_be_written_does_not_fail_the_render(
    world: World, video_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr(render_control, "add_preview", locked)
    _render_as(world, video_id, lambda control: control.preview(b"x"))
    assert world.attempt(video_id).state == "fetching"
    assert "a preview was not shown" in caplog.text
