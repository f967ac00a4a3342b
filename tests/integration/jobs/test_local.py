"""A local attempt: rendered on a slot, fenced, handed back, and followed by the next way when it fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.jobs import render_control
from gateway.jobs.accept import accept
from gateway.jobs.control import cancel_video
from gateway.jobs.errors import PlanRefused
from gateway.jobs.overdue import end_overdue
from gateway.jobs.records import list_videos, queue_place
from gateway.jobs.render import MAX_DEATHS, render
from gateway.jobs.settle import settle
from gateway.kit.testing import decode
from gateway.media import StoreFull
from gateway.spec import Asset, Cancelled, Control, Device, InputImage, Job, VideoRequest

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")


def _accept(world: World, **fields: Any) -> str:
    return world.accept(**{"model": "echo", "size": "64x64", "seconds": "1", **fields})


def _run(world: World, video_id: str, number: int = 1) -> None:
    """Render an attempt and settle it."""
    attempt = world.attempt(video_id, number)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)


def _render_as(world: World, monkeypatch: pytest.MonkeyPatch, body: Callable[..., Asset]) -> None:
    monkeypatch.setattr(world.runtime.registry.adapters["echo"], "render", body)


def test_a_render_is_stored_charged_by_device_time_and_playable(world: World) -> None:
    video_id = _accept(world)
    _run(world, video_id)
    video = world.video(video_id)
    attempt = world.attempt(video_id)
    assert video.status == "completed"
    assert attempt.device == "cpu/0 cpu"
    rate = world.runtime.settings.pools["cpu"].hourly_usd
    expected = rate * attempt.render_ms / 3_600_000 * 1_000_000
    assert abs(attempt.actual_micro_usd - expected) <= 1
    key = f"videos/{video_id}/{attempt.id}-1.mp4"
    clip = decode(world.runtime.store.as_file(key, world.runtime.scratch)[0])
    assert (clip.width, clip.height, clip.frames) == (64, 64, 16)
    assert world.problems() == []


def test_the_charge_is_never_above_the_hold_and_the_overrun_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = _accept(world)
    attempt = world.attempt(video_id)
    render(world.runtime, attempt.id, SLOT)
    world.update(attempt.id, usage={"device_ms": 3_600_000})
    settle(world.runtime, attempt.id)
    money = world.money(video_id)
    assert money["actual"] == 100_000
    assert money["charge"] == money["hold"] < money["actual"]
    assert world.problems() == []


@pytest.mark.parametrize(("accident", "code"), [("render", "render_failed"), ("oom", "out_of_memory")])
def test_a_failed_render_is_not_charged_and_its_device_time_is_on_record(
    world: World, accident: str, code: str
) -> None:
    video_id = _accept(world, options={"echo": {"fail": accident}})
    _run(world, video_id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", code, 0)
    assert "actual" in world.money(video_id)
    assert world.problems() == []


def test_an_adapters_own_bug_is_a_failed_attempt_without_its_text(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(job: Job, device: Device, control: Control) -> Asset:
        raise ZeroDivisionError("secret inner words")

    _render_as(world, monkeypatch, buggy)
    video_id = _accept(world)
    _run(world, video_id)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "render_failed")
    assert "secret" not in str(video.error_message)
    assert "secret" in world.attempt(video_id).operator_detail


def test_what_is_not_a_video_is_not_delivered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def junk(job: Job, device: Device, control: Control) -> Asset:
        (control.folder / "clip.mp4").write_bytes(b"junk")
        return Asset(path=control.folder / "clip.mp4")

    _render_as(world, monkeypatch, junk)
    video_id = _accept(world)
    _run(world, video_id)
    settle(world.runtime, world.attempt(video_id).id)
    assert world.video(video_id).error_code == "broken_result"
    assert world.problems() == []


def test_a_full_store_fails_the_attempt_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreFull("no space left")

    monkeypatch.setattr(world.runtime.store, "put", full)
    video_id = _accept(world)
    _run(world, video_id)
    video = world.video(video_id)
    assert video.error_code == "storage_unavailable"
    assert "full" in str(video.error_message)


def test_progress_is_recorded_while_it_renders(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_control, "PROGRESS_EVERY_S", 0.0)
    seen: list[int] = []

    def watched(job: Job, device: Device, control: Control) -> Asset:
        for step in range(1, 5):
            control.progress("denoise", step, 4)
            seen.append(world.video(job_video(world)).progress)
        raise Cancelled("enough")

    _render_as(world, monkeypatch, watched)
    _accept(world)
    _run(world, job_video(world))
    assert seen == [25, 50, 75, 99]


def job_video(world: World) -> str:
    """The id of the only video there is."""
    with world.runtime.db.read() as connection:
        page, _ = list_videos(connection, world.caller, after=None, limit=1, ascending=True)
    return page[0].id


def test_a_cancel_while_rendering_stops_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_control, "PROGRESS_EVERY_S", 0.0)

    def cancelled_midway(job: Job, device: Device, control: Control) -> Asset:
        assert not control.cancelled()
        cancel_video(world.runtime, world.caller, job_video(world))
        assert control.cancelled()
        raise Cancelled("stopped")

    _render_as(world, monkeypatch, cancelled_midway)
    video_id = _accept(world)
    _run(world, video_id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "cancelled", 0)
    assert world.problems() == []


def test_a_worker_that_is_told_to_end_hands_its_job_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(job: Job, device: Device, control: Control) -> Asset:
        world.runtime.stopping.set()
        assert control.cancelled()
        raise Cancelled("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(world.runtime.registry.adapters["echo"], "render", stopped)
        video_id = _accept(world)
        attempt = world.attempt(video_id)
        render(world.runtime, attempt.id, SLOT)
    world.runtime.stopping.clear()
    assert world.attempt(video_id).state == "planned"
    assert f"start:{attempt.id}:1" in world.enqueued()
    _run(world, video_id)
    assert world.video(video_id).status == "completed"


def test_a_worker_taken_for_dead_cannot_write_over_its_successor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = world.runtime.registry.local("echo", "local").render

    def overtaken(job: Job, device: Device, control: Control) -> Asset:
        asset = original(job, device, control)
        with monkeypatch.context() as patch:
            patch.setattr(world.runtime.registry.adapters["echo"], "render", original)
            render(world.runtime, job.tag, SLOT)
        return asset

    _render_as(world, monkeypatch, overtaken)
    video_id = _accept(world)
    _run(world, video_id)
    attempt = world.attempt(video_id)
    assert attempt.source_key.endswith("-2.mp4")
    kept = sorted(
        path.name for path in (world.runtime.settings.store_dir / "videos" / video_id).glob("*.mp4")
    )
    assert kept == [f"{attempt.id}-2.mp4"]
    assert world.problems() == []


def test_the_third_death_of_a_worker_on_one_job_fails_it(world: World) -> None:
    video_id = _accept(world)
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="running", supervisor=world.runtime.supervisor, deaths=MAX_DEATHS - 1)
    _run(world, video_id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "worker_lost", 0)
    assert world.problems() == []


def test_a_restart_of_the_gateway_is_no_death_of_the_job(world: World) -> None:
    video_id = _accept(world)
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="running", supervisor="an-earlier-gateway", deaths=MAX_DEATHS - 1)
    _run(world, video_id)
    assert world.video(video_id).status == "completed"


def test_a_render_nobody_ends_is_ended_after_its_deadline(world: World) -> None:
    video_id = _accept(world)
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="running", supervisor="lost")
    world.update_video(video_id, deadline_at=now() - timedelta(minutes=10))
    end_overdue(world.runtime)
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "deadline_exceeded")


@pytest.fixture
def two_ways(make_world: Callable[..., World], tmp_path: Path) -> World:
    """A gateway that has the model ``echo`` twice: locally, and dearer at the remote guise."""
    offer = {
        "model": "echo",
        "adapter": "echo_remote",
        "upstream": "echo",
        "submit_policy": "lookup",
        "prices": [
            {
                "unit": "second",
                "usd": "0.02",
                "effective_from": "2026-01-01",
                "source": {"text": "a test's own price", "date": "2026-01-01", "confidence": "high"},
            }
        ],
    }
    return make_world(offers=(offer,))


def test_after_a_failure_of_its_own_the_next_way_is_taken_inside_the_hold(two_ways: World) -> None:
    video_id = _accept(two_ways, options={"echo": {"fail": "render"}})
    assert two_ways.money(video_id)["hold"] == 20_000, "the hold is the dearest candidate left"
    _run(two_ways, video_id)
    video = two_ways.video(video_id)
    assert video.status == "in_progress"
    second = two_ways.attempt(video_id, 2)
    assert (second.adapter, second.state) == ("echo_remote", "planned")
    assert f"start:{second.id}:0" in two_ways.enqueued()


def test_after_a_failure_that_is_the_callers_no_other_way_is_taken(
    two_ways: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = _accept(two_ways, options={"echo": {"no_such_option": 1}})
    _run(two_ways, video_id)
    video = two_ways.video(video_id)
    assert (video.status, video.error_code, len(video.attempts)) == ("failed", "bad_request", 1)


def test_what_is_no_longer_installed_is_a_failed_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = _accept(world)
    monkeypatch.delitem(world.runtime.registry.adapters, "echo")
    _run(world, video_id)
    assert world.video(video_id).error_code == "adapter_missing"


def test_a_lost_input_image_fails_the_video_before_anything_is_run(world: World) -> None:
    image = InputImage(
        role="first_frame", key="ab12", sha256="ab12", media_type="image/png", width=64, height=64, bytes=3
    )
    request = VideoRequest(prompt="x", model="echo", images=(image,))
    reply = accept(world.runtime, world.caller, request, {"ab12": b"png"}, reply=lambda v: {"id": v.id}).reply
    world.runtime.store.delete(f"inputs/{reply['id']}/0.png")
    _run(world, reply["id"])
    assert world.video(reply["id"]).error_code == "input_missing"
    assert world.problems() == []


def test_an_adapter_that_cannot_say_whether_it_is_ready_keeps_only_itself_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(offer: Any, preset: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.runtime.registry.adapters["echo"], "unready", broken)
    assert world.accept(model="echo-remote")
    with pytest.raises(PlanRefused) as refused:
        _accept(world)
    assert [dropped.code for dropped in refused.value.plan.dropped] == ["adapter_failed"]


def test_a_batch_waits_behind_what_is_interactive(world: World) -> None:
    batch, interactive = _accept(world, priority="batch"), _accept(world)
    with world.runtime.db.read() as connection:
        places = [queue_place(connection, world.video(waiting)) for waiting in (interactive, batch)]
    assert places == [0, 1]


def test_the_plans_notes_stay_with_the_finished_video(make_world: Callable[..., World]) -> None:
    slots = {"default": {"text-to-video": ({"model": "echo"},)}}
    world = make_world(policies={"tiered": {"slots": slots}})
    video_id = _accept(world, model="auto", quality="premium")
    _run(world, video_id)
    codes = [note["code"] for note in world.video(video_id).notes]
    assert codes == ["quality_lowered", "test_weights"]


def test_interactive_requests_start_before_batches(world: World) -> None:
    batch = world.attempt(_accept(world, priority="batch")).id
    interactive = world.attempt(_accept(world)).id
    query = sa.text(f"SELECT workflow_uuid FROM {world.workflows} ORDER BY priority, created_at")
    with world.runtime.db.read() as connection:
        ids = [row[0] for row in connection.execute(query)]
    assert ids == [f"start:{interactive}:0", f"start:{batch}:0"]
