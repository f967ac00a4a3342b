"""Checkpoints: kept under the claim, handed to the next run, and gone when the attempt ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import CommitUnknown
from gateway.db.tables import videos
from gateway.jobs import checkpoints, retention
from gateway.jobs.control import cancel_video
from gateway.jobs.render import MAX_DEATHS, render
from gateway.jobs.settle import settle
from gateway.jobs.slots import handed
from gateway.kit.testing import decode
from gateway.media import StoreFull
from gateway.spec import Asset, Cancelled, Control, Device, Job, RenderError

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")
Body = Callable[[Job, Device, Control], Asset]


class Died(BaseException):
    """The end of a worker in mid-render: nothing is recorded."""


@pytest.fixture
def video_id(world: World) -> str:
    return world.accept(model="echo", size="64x64", seconds="1")


def _render_as(world: World, video_id: str, body: Callable[[Control], object]) -> None:
    """Run the attempt with this in the place of the adapter's render; without an end of its own, it dies."""

    def run(job: Job, device: Device, control: Control) -> Asset:
        body(control)
        raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.runtime.registry.adapters["echo"], "render", run)
        with suppress(Died):
            render(world.runtime, world.attempt(video_id).id, SLOT)


def _keep(*states: bytes) -> Callable[[Control], None]:
    def body(control: Control) -> None:
        for state in states:
            control.keep_checkpoint(state)

    return body


def _handed_out(world: World, video_id: str) -> list[bytes]:
    found: list[bytes] = []
    _render_as(world, video_id, lambda control: found.extend(control.checkpoints()))
    return found


def _stored(world: World) -> dict[str, bytes]:
    store = world.runtime.store
    return {entry.key: store.read(entry.key) for entry in store.keys(checkpoints.PREFIX)}


def _named(world: World, video_id: str) -> list[str]:
    return [entry["key"] for entry in world.attempt(video_id).checkpoints or ()]


def test_the_newest_two_are_kept_and_named_with_what_they_hold(world: World, video_id: str) -> None:
    _render_as(world, video_id, _keep(b"one", b"two", b"three"))
    attempt = world.attempt(video_id)
    key = f"checkpoints/{video_id}/{attempt.id}-1"
    assert _stored(world) == {f"{key}-2": b"two", f"{key}-3": b"three"}
    assert _named(world, video_id) == [f"{key}-3", f"{key}-2"], "newest first"
    newest = checkpoints.newest(attempt)
    assert newest == attempt.checkpoints[0]
    assert (newest["bytes"], newest["sha256"][:8], newest["at"][-6:]) == (5, "8b5b9db0", "+00:00")


def test_the_next_run_is_handed_them_newest_first(world: World, video_id: str) -> None:
    assert _handed_out(world, video_id) == []
    _render_as(world, video_id, _keep(b"one", b"two"))
    assert _handed_out(world, video_id) == [b"two", b"one"]
    _render_as(world, video_id, _keep(b"three"))
    assert _handed_out(world, video_id) == [b"three", b"two"]


@pytest.mark.parametrize("damage", ["lost", "altered", "cut off"])
def test_one_that_is_not_what_was_kept_is_passed_over(
    world: World, video_id: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _render_as(world, video_id, _keep(b"one", b"two"))
    file = world.runtime.settings.store_dir / _named(world, video_id)[0]
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(b"tvo" if damage == "altered" else b"t")
    assert _handed_out(world, video_id) == [b"one"]
    assert any(_named(world, video_id)[0] in text for text in caplog.messages)


def test_a_worker_taken_for_dead_keeps_nothing(world: World, video_id: str) -> None:
    def overtaken(control: Control) -> None:
        control.keep_checkpoint(b"one")
        world.update(world.attempt(video_id).id, fence=2)
        control.keep_checkpoint(b"two")

    _render_as(world, video_id, overtaken)
    assert list(_stored(world).values()) == [b"one"]
    assert list(_stored(world)) == _named(world, video_id)


def test_a_store_that_is_full_costs_a_checkpoint_and_not_the_render(
    world: World, video_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put = world.runtime.store.put

    def full(key: str, source: Any) -> Any:
        if key.endswith("-2"):
            raise StoreFull("full", operator_detail="no space left")
        return put(key, source)

    monkeypatch.setattr(world.runtime.store, "put", full)
    _render_as(world, video_id, _keep(b"one", b"two", b"three"))
    assert sorted(_stored(world).values()) == [b"one", b"three"]
    assert "no space left" in caplog.text


@pytest.mark.parametrize(("how", "left"), [("down", [b"one"]), ("no word", [b"one", b"two"])])
def test_a_database_that_fails_costs_a_checkpoint_and_not_the_render(
    world: World,
    video_id: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    left: list[bytes],
) -> None:
    write = world.runtime.db.write

    @contextmanager
    def failing() -> Iterator[sa.Connection]:
        if how == "down":
            raise sa.exc.OperationalError("BEGIN", {}, Exception("the server is starting up"))
        with write() as connection:
            yield connection
        raise CommitUnknown("COMMIT", {}, Exception("connection lost"))

    def body(control: Control) -> None:
        control.keep_checkpoint(b"one")
        with monkeypatch.context() as patch:
            patch.setattr(world.runtime.db, "write", failing)
            control.keep_checkpoint(b"two")

    _render_as(world, video_id, body)
    assert sorted(_stored(world).values()) == left
    assert sorted(_stored(world)) == sorted(_named(world, video_id)), "what is named is there, and no more"
    assert "checkpoint was not recorded" in caplog.text


def test_one_is_due_now_and_then(make_world: Callable[..., World]) -> None:
    world = make_world(checkpoint_every_s=3600)
    seen: list[bool] = []

    def body(control: Any) -> None:
        seen.append(control.checkpoint_due())
        control._kept_at -= 3601
        seen.append(control.checkpoint_due())
        control.keep_checkpoint(b"one")
        seen.append(control.checkpoint_due())

    _render_as(world, world.accept(model="echo"), body)
    assert seen == [False, True, False]


@pytest.mark.parametrize(
    ("drained_at", "stopped_at", "kept_at"),
    [(2, 4, [2, 4]), (3, 3, [3]), (None, 2, [2]), (2, None, [2])],
    ids=["drained, then to hand back", "both at once", "to hand back at once", "ended in time"],
)
def test_a_render_that_asks_after_every_step_loses_none_to_the_end_of_its_process(
    world: World, video_id: str, drained_at: int | None, stopped_at: int | None, kept_at: list[int]
) -> None:
    kept: list[int] = []

    def steps(control: Control) -> None:
        for step in range(1, 6):
            if step == drained_at:
                world.runtime.draining.set()
            if step == stopped_at:
                world.runtime.stopping.set()
            if control.checkpoint_due():
                control.keep_checkpoint(b"step %d" % step)
                kept.append(step)
            if control.cancelled():
                raise Cancelled("stopped")

    _render_as(world, video_id, steps)
    world.runtime.draining.clear()
    world.runtime.stopping.clear()
    assert kept == kept_at
    assert world.attempt(video_id).state == ("running" if stopped_at is None else "planned")
    assert _handed_out(world, video_id)[0] == b"step %d" % kept_at[-1]


def _fails(control: Control) -> None:
    control.keep_checkpoint(b"one")
    raise RenderError("broken")


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "cancelled after a hand-back", "broken"])
def test_with_the_end_of_its_attempt_they_are_gone(world: World, video_id: str, end: str) -> None:
    def interrupted(control: Control) -> None:
        control.keep_checkpoint(b"one")
        if end == "cancelled":
            cancel_video(world.runtime, world.caller, video_id)
        elif end == "cancelled after a hand-back":
            world.runtime.stopping.set()
        raise Cancelled("stopped")

    attempt_id = world.attempt(video_id).id
    if end in ("completed", "broken"):
        _render_as(world, video_id, _keep(b"one", b"two"))
        render(world.runtime, attempt_id, SLOT)
    else:
        _render_as(world, video_id, _fails if end == "failed" else interrupted)
        world.runtime.stopping.clear()
    if end == "broken":
        (world.runtime.settings.store_dir / world.attempt(video_id).source_key).write_bytes(b"junk")
    assert _stored(world)
    if end == "cancelled after a hand-back":
        assert world.attempt(video_id).state == "planned"
        cancel_video(world.runtime, world.caller, video_id)
    settle(world.runtime, attempt_id)
    video = world.video(video_id)
    assert video.status == ("completed" if end == "completed" else "failed")
    assert _stored(world) == {}
    assert world.problems() == []


def test_what_a_worker_stored_and_could_not_name_any_more_goes_too(world: World, video_id: str) -> None:
    _render_as(world, video_id, _keep(b"one"))
    attempt = world.attempt(video_id)
    next_attempts = f"checkpoints/{video_id}/att_next-1-1"
    for key in (f"checkpoints/{video_id}/{attempt.id}-1-2", next_attempts):
        world.runtime.store.put(key, b"two")
    checkpoints.drop(world.runtime, attempt)
    assert list(_stored(world)) == [next_attempts]


def test_one_may_be_kept_beyond_the_end(world: World, video_id: str) -> None:
    _render_as(world, video_id, _keep(b"one", b"two"))
    attempt = world.attempt(video_id)
    newest = checkpoints.newest(attempt)
    assert newest is not None
    checkpoints.drop(world.runtime, attempt, keep=newest["key"])
    assert _stored(world) == {newest["key"]: b"two"}


def test_those_that_could_not_be_deleted_are_swept_once_the_video_is_finished(
    world: World, video_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ORPHAN_AFTER", timedelta(seconds=-60))
    go_on = threading.Event()
    _render_as(world, video_id, _keep(b"one"))
    assert retention.sweep_orphans(world.runtime, go_on) == 0, "a later run goes on from it"
    render(world.runtime, world.attempt(video_id).id, SLOT)

    def failing(key: str) -> bool:
        raise StoreFull("failing")

    with monkeypatch.context() as patch:
        patch.setattr(world.runtime.store, "delete", failing)
        settle(world.runtime, world.attempt(video_id).id)
    assert world.video(video_id).status == "completed"
    assert list(_stored(world).values()) == [b"one"]
    assert retention.sweep_orphans(world.runtime, go_on) >= 1
    assert _stored(world) == {}


def test_deaths_count_only_as_long_as_nothing_new_is_kept(world: World, video_id: str) -> None:
    attempt_id = world.attempt(video_id).id
    for number in range(2 * MAX_DEATHS):
        _render_as(world, video_id, _keep(b"%d" % number))
        assert world.attempt(video_id).deaths == 0
    for _ in range(MAX_DEATHS):
        assert world.attempt(video_id).state == "running"
        _render_as(world, video_id, _keep())
    settle(world.runtime, attempt_id)
    video = world.video(video_id)
    assert (video.status, video.error_code, _stored(world)) == ("failed", "worker_lost", {})


# --- real processes


@contextmanager
def _worker(world: World) -> Iterator[subprocess.Popen[str]]:
    """The process of the one slot."""
    task = {
        "settings": handed(world.runtime.settings),
        "device": SLOT.model_dump(),
        "supervisor": world.runtime.supervisor,
    }
    command = [sys.executable, "-m", "gateway.jobs.worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def _frames_done(world: World, video_id: str) -> int:
    """How many frames the newest checkpoint that is still there holds."""
    for key in _named(world, video_id):
        if world.runtime.store.exists(key):
            return int(json.loads(world.runtime.store.read(key)[32:])["frames"])
    return 0


def _hurry(world: World, video_id: str) -> None:
    """Take the pace out of the order, so that what is left is done at once."""
    with world.runtime.db.read() as connection:
        asked = connection.execute(sa.select(videos.c.request).where(videos.c.id == video_id)).scalar_one()
    world.update_video(video_id, request={**asked, "options": {}})


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "kill -9"])
def test_what_a_process_had_done_when_it_was_ended_is_not_done_again(
    make_world: Callable[..., World], how: signal.Signals
) -> None:
    world = make_world(checkpoint_every_s=0.1 if how == signal.SIGKILL else 3600, drain_s=0.3)
    order: dict[str, Any] = {"model": "echo", "size": "64x64", "seconds": "1", "seed": 7}
    slow = {"options": {"echo": {"latency_ms": 16_000}}}  # a second for each frame
    plain, video_id = world.accept(**order), world.accept(**order, **slow)
    render(world.runtime, world.attempt(plain).id, SLOT)
    tick = threading.Event()
    with _worker(world) as process:
        for _ in range(1_000):
            done = _frames_done(world, video_id) if how == signal.SIGKILL else world.video(video_id).progress
            if done:
                break
            tick.wait(0.02)
        os.kill(process.pid, how)
        assert process.wait(timeout=20) == (0 if how == signal.SIGTERM else -how)
    frames = _frames_done(world, video_id)
    assert 0 < frames < 16
    assert world.attempt(video_id).state == ("planned" if how == signal.SIGTERM else "running")
    _hurry(world, video_id)
    render(world.runtime, world.attempt(video_id).id, SLOT)
    attempt = world.attempt(video_id)
    assert [note["detail"] for note in attempt.notes if note["code"] == "resumed"] == [
        f"went on from frame {frames} of 16"
    ]
    assert attempt.usage["device_ms"] >= 1_000 * frames, "the time of what was kept counts"
    clips = [world.runtime.store.read(world.attempt(one).source_key) for one in (plain, video_id)]
    assert clips[0] == clips[1]
    assert decode(clips[1]).frames == 16
    for one in (plain, video_id):
        settle(world.runtime, world.attempt(one).id)
        assert world.video(one).status == "completed"
    assert _stored(world) == {}
    assert world.problems() == []
