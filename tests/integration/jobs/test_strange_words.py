"""Whatever a provider or an adapter says is recorded, on either database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.db import now
from gateway.jobs.looks import observe, put_off
from gateway.jobs.render import render
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.spec import (
    Asset,
    Control,
    Device,
    Failed,
    Job,
    Note,
    Queued,
    Succeeded,
    Ticket,
    Unavailable,
)

from .conftest import World

STRANGE = "no\0way, \N{WATER WAVE} \\u0000 \x1b[31m 'x' {\"y\": 1}" + "é" * 5_000
SHOWN = STRANGE.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _submitted(world: World) -> tuple[str, str]:
    """A video whose job is at the provider, and its attempt's id."""
    video_id = world.accept(options={"echo_remote": {"latency_ms": 60_000}})
    attempt_id = world.attempt(video_id).id
    submit(world.runtime, attempt_id)
    return video_id, attempt_id


def test_why_a_job_failed(world: World) -> None:
    video_id, attempt_id = _submitted(world)
    observe(world.runtime, attempt_id, Failed(code="broke", message=STRANGE, user_fault=True))
    settle(world.runtime, attempt_id)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "broke")
    assert str(video.error_message).startswith(SHOWN)
    assert world.problems() == []


def test_notes_of_a_result_and_the_name_of_a_job(world: World) -> None:
    video_id, attempt_id = _submitted(world)
    world.update(
        attempt_id,
        ticket=Ticket(id=world.attempt(video_id).ticket["id"], data={"said": STRANGE}).model_dump(),
    )
    observe(world.runtime, attempt_id, Queued())
    observe(world.runtime, attempt_id, Succeeded(notes=(Note(code="said", detail=STRANGE),)))
    settle(world.runtime, attempt_id)
    assert world.video(video_id).status == "completed"
    assert {"code": "said", "detail": STRANGE} in world.video(video_id).notes
    assert world.attempt(video_id).ticket["data"] == {"said": STRANGE}


def test_why_a_look_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    video_id, attempt_id = _submitted(world)
    world.update(attempt_id, next_poll_at=now() - timedelta(seconds=1))
    watcher = Watcher(world.runtime)
    (row,) = watcher._claim_due()
    put_off(world.runtime, row, Unavailable("busy", operator_detail=STRANGE))
    assert world.attempt(video_id).operator_detail == SHOWN


def test_what_an_adapter_raised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(job: Job, device: Device, control: Control) -> Asset:
        control.progress(STRANGE, 1, 2)
        raise RuntimeError(STRANGE)

    monkeypatch.setattr(world.runtime.registry.adapters["echo"], "render", breaks)
    video_id = world.accept(model="echo", size="64x64", seconds="1")
    render(world.runtime, world.attempt(video_id).id, Device(pool="cpu", slot=0, kind="cpu" * 20))
    attempt: Any = world.attempt(video_id)
    assert (attempt.state, attempt.operator_detail) == ("failed", f"RuntimeError: {SHOWN}")
