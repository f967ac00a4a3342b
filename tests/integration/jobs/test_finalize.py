"""An approved preview's final: what it keeps of the preview, once, and what the line cost together."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from gateway.jobs.accept import accept, dry_run
from gateway.jobs.control import delete_video
from gateway.jobs.errors import NotAPreview, NotFinished, SandboxOff
from gateway.jobs.finalize import existing_final, finalize, lineage, plan_final
from gateway.jobs.records import VideoNotFound, get_request
from gateway.jobs.render import render
from gateway.jobs.settle import settle
from gateway.spec import Device, VideoRequest
from tests._stepper import OFFER, PREVIEW, Stepper

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    world = make_world(offers=(OFFER,))
    world.runtime.registry.adapters["stepper"] = Stepper()  # type: ignore[index]  # it is a dict
    return world


def _preview(world: World, **fields: Any) -> str:
    asked = {"model": "echo", "mode": "preview", "preset": "standard", "size": "64x64", "seconds": "1"}
    video_id = world.accept(**asked | fields)
    attempt = world.attempt(video_id)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    return video_id


def _finalize(world: World, video_id: str, **wishes: Any) -> str:
    final = plan_final(world.runtime, world.caller, video_id, wishes)
    return str(finalize(world.runtime, world.caller, final, reply=lambda v: {"id": v.id}).reply["id"])


def _request(world: World, video_id: str) -> VideoRequest:
    with world.runtime.db.read() as connection:
        return get_request(connection, world.caller, video_id)


def test_the_previews_first_frame_conditions_a_final_that_takes_no_last_one(world: World) -> None:
    preview = _preview(world)
    final = _finalize(world, preview, model="echo-remote", seconds=Decimal(2))
    made, asked = world.video(final), _request(world, final)
    assert (made.continuity, made.finalized_from, made.mode) == ("first_frame", preview, "final")
    assert (made.model, made.clip_ms, made.lineage_id) == ("echo-remote", 2000, preview)
    (frame,) = asked.images
    assert (frame.role, frame.width, frame.height) == ("first_frame", 64, 64)
    with Image.open(io.BytesIO(world.runtime.store.read(frame.key))) as picture:
        assert picture.size == (64, 64)
    assert world.money(final)["hold"] == 20_000


def test_the_callers_own_first_frame_stays(world: World) -> None:
    preview = _preview(world)
    middle = _finalize(world, preview, model="echo-remote")
    own = _request(world, middle).images[0]
    given = world.runtime.store.read(own.key)
    image = own.model_copy(update={"key": own.sha256})
    request = VideoRequest(prompt="x", model="echo", mode="preview", size="64x64", images=(image,))
    second = str(
        accept(world.runtime, world.caller, request, {own.sha256: given}, reply=lambda v: {"id": v.id}).reply[
            "id"
        ]
    )
    attempt = world.attempt(second)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)
    final = _finalize(world, second, model="echo-remote")
    assert world.video(final).continuity == "first_frame"
    assert [one.sha256 for one in _request(world, final).images] == [own.sha256]


def test_kept_latents_are_gone_on_from_where_the_model_is_the_same(world: World) -> None:
    preview = _preview(world, **PREVIEW)
    plan = plan_final(world.runtime, world.caller, preview, {"model": "echo"})
    assert plan.tied.continuity == "resumed_latents"
    assert plan.tied.plan.chosen is not None
    assert plan.tied.plan.chosen.preset == "whole"
    final = _finalize(world, preview, model="echo")
    asked = _request(world, final)
    assert asked.continues is not None
    assert asked.continues.video_id == preview
    assert (world.video(final).continuity, world.video(final).continued_from) == ("resumed_latents", preview)

    bigger = _preview(world, **PREVIEW)
    other = plan_final(world.runtime, world.caller, bigger, {"model": "echo", "size": "128x128"})
    assert other.tied.continuity == "first_frame", "its latents have the preview's size"


def test_what_the_preview_might_cost_at_most_does_not_bind_its_final(world: World) -> None:
    preview = _preview(world, max_cost=Decimal("0.001"), deadline=600)
    final = plan_final(world.runtime, world.caller, preview, {"model": "echo-remote"})
    assert final.tied.plan.chosen is not None
    assert (final.tied.request.max_cost, final.tied.request.deadline) == (None, None)


def test_without_frames_the_seed_and_then_the_prompt_alone_are_left(world: World) -> None:
    seeded, unseeded = _preview(world, seed=7), _preview(world)
    for preview in (seeded, unseeded):
        (clip,) = [key for key in _keys(world, preview) if key.endswith(".mp4")]
        world.runtime.store.delete(clip)
    same = plan_final(world.runtime, world.caller, seeded, {"model": "echo"})
    assert (same.tied.continuity, same.tied.request.seed) == ("same_seed", 7)
    other = plan_final(world.runtime, world.caller, seeded, {"model": "echo-remote"})
    assert other.tied.continuity == "prompt_only", "the seed means nothing to another model"
    plain = plan_final(world.runtime, world.caller, unseeded, {"model": "echo"})
    assert plain.tied.continuity == "prompt_only"


def _keys(world: World, video_id: str) -> list[str]:
    return [entry.key for entry in world.runtime.store.keys(f"videos/{video_id}")]


def test_a_preview_has_one_final_unless_that_failed(world: World) -> None:
    preview = _preview(world)
    first = plan_final(world.runtime, world.caller, preview, {"model": "echo-remote"})
    second = plan_final(world.runtime, world.caller, preview, {"model": "echo-remote"})
    reply = {"reply": lambda v: {"id": v.id}}
    made = finalize(world.runtime, world.caller, first, **reply)  # type: ignore[arg-type]  # one keyword
    again = finalize(world.runtime, world.caller, second, **reply)  # type: ignore[arg-type]  # as above
    assert (made.replayed, again.replayed) == (False, True)
    assert again.reply["id"] == made.reply["id"]
    found = existing_final(world.runtime, world.caller, preview)
    assert found is not None
    assert found.id == made.reply["id"]
    held = [entry for entry in world.enqueued() if entry.startswith("start:")]
    assert len(held) == 2, "one of the preview, one of its only final"

    world.update_video(str(made.reply["id"]), status="failed")
    assert existing_final(world.runtime, world.caller, preview) is None
    third = finalize(world.runtime, world.caller, second, **reply)  # type: ignore[arg-type]  # as above
    assert third.replayed is False


def test_a_line_is_told_from_any_of_its_videos(world: World) -> None:
    preview, stranger = _preview(world), _preview(world)
    final = _finalize(world, preview, model="echo-remote")
    for member in (preview, final):
        assert [video.id for video in lineage(world.runtime, world.caller, member)] == [preview, final]
    assert [video.id for video in lineage(world.runtime, world.caller, stranger)] == [stranger]


def test_what_is_no_finished_preview_is_refused(world: World) -> None:
    final = _preview(world, mode="final")
    with pytest.raises(NotAPreview):
        plan_final(world.runtime, world.caller, final, {})
    waiting = world.accept(model="echo", mode="preview", size="64x64")
    with pytest.raises(NotFinished):
        plan_final(world.runtime, world.caller, waiting, {})
    failed = _preview(world)
    world.update_video(failed, status="failed", error_code="gave_up")
    with pytest.raises(NotAPreview, match="failed"):
        plan_final(world.runtime, world.caller, failed, {})
    gone = _preview(world)
    delete_video(world.runtime, world.caller, gone)
    with pytest.raises(VideoNotFound):
        plan_final(world.runtime, world.caller, gone, {})


def test_a_key_for_test_mode_neither_sees_nor_finalises_what_is_live(world: World) -> None:
    preview = _preview(world)
    test = replace(world.caller, livemode=False)
    for call in (existing_final, lineage):
        with pytest.raises(VideoNotFound):
            call(world.runtime, test, preview)
    with pytest.raises(VideoNotFound):
        plan_final(world.runtime, test, preview, {})
    with pytest.raises(SandboxOff):
        dry_run(world.runtime, test, VideoRequest(prompt="x"))
