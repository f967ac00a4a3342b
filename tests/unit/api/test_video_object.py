from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.api.video_object import Video, poll_after_ms, seconds_text, usd_text, video_object
from gateway.jobs.records import LATENCY_PARTS, AttemptRecord, Decision, VideoRecord

CREATED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DECISION = Decision(policy="tiered", branch="basic", reason="because", eta_ms=8000, candidates=2, dropped=3)
ATTEMPT = AttemptRecord(
    id="att_1",
    number=1,
    state="failed",
    model="echo",
    offer="echo/echo",
    adapter="echo",
    account="local",
    preset="standard",
    pool="cpu",
    priority=1,
    stage=None,
    error_code="gave_up",
    error_message="it gave up",
    latency={**dict.fromkeys(LATENCY_PARTS), "queued_ms": 12},
)


def record(**changes: Any) -> VideoRecord:
    values: dict[str, Any] = {
        "id": "video_1",
        "status": "queued",
        "progress": 0,
        "prompt": "a cat",
        "mode": "preview",
        "tier": "basic",
        "model": "echo",
        "size": "320x180",
        "clip_ms": 4000,
        "estimate_micro_usd": 20_000,
        "hold_micro_usd": 30_001,
        "charge_micro_usd": None,
        "created_at": CREATED,
        "completed_at": None,
        "expires_at": None,
        "parked": False,
        "remixed_from": None,
        "continued_from": None,
        "livemode": True,
        "finalized_from": None,
        "continuity": None,
        "lineage_id": "video_1",
        "continuable": False,
        "error_code": None,
        "error_message": None,
        "notes": (),
        "decision": DECISION,
        "attempts": (ATTEMPT,),
    }
    return VideoRecord(**values | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attempts": ()},
        {"notes": ({"code": "deprecated", "detail": "soon"},), "expires_at": CREATED},
        {"status": "failed", "error_code": "gave_up", "error_message": None, "charge_micro_usd": 0},
    ],
)
def test_a_reply_is_what_the_apis_description_says(changes: dict[str, Any]) -> None:
    video = video_object(record(**changes))
    assert Video.model_validate(video, strict=True, extra="forbid").model_dump(mode="json") == video


def test_the_fields_are_openais_and_what_was_continued() -> None:
    video = video_object(record(), queue_place=2)
    gateway = video.pop("gateway")
    assert video == {
        "id": "video_1",
        "object": "video",
        "model": "echo",
        "status": "queued",
        "progress": 0,
        "created_at": int(CREATED.timestamp()),
        "completed_at": None,
        "expires_at": None,
        "prompt": "a cat",
        "seconds": "4",
        "size": "320x180",
        "remixed_from_video_id": None,
        "continued_from_video_id": None,
        "finalized_from_video_id": None,
        "livemode": True,
        "error": None,
    }
    assert gateway["queue_place"] == 2
    assert (gateway["offer"], gateway["preset"], gateway["mode"]) == ("echo/echo", "standard", "preview")
    assert (gateway["estimate_usd"], gateway["hold_usd"], gateway["charge_usd"]) == ("0.02", "0.030001", None)
    assert gateway["plan"] == {
        "policy": "tiered",
        "branch": "basic",
        "reason": "because",
        "candidates": 2,
        "dropped": 3,
    }


def test_lineage_and_whether_it_can_be_continued_are_told() -> None:
    video = video_object(record(remixed_from="video_0", continued_from="video_9", continuable=True))
    assert (video["remixed_from_video_id"], video["continued_from_video_id"]) == ("video_0", "video_9")
    assert video["gateway"]["continuable"] is True
    final = video_object(record(finalized_from="video_0", continuity="first_frame", lineage_id="video_0"))
    assert final["finalized_from_video_id"] == "video_0"
    assert (final["gateway"]["continuity"], final["gateway"]["lineage_id"]) == ("first_frame", "video_0")


def test_a_failure_is_told_with_its_attempts() -> None:
    failed = record(
        status="failed",
        error_code="gave_up",
        error_message="it gave up",
        completed_at=CREATED,
        attempts=(ATTEMPT,),
        charge_micro_usd=0,
    )
    video = video_object(failed)
    assert video["error"] == {"code": "gave_up", "message": "it gave up"}
    assert video["completed_at"] == int(CREATED.timestamp())
    assert video["gateway"]["charge_usd"] == "0"
    assert video["gateway"]["latency"]["queued_ms"] == 12
    assert video["gateway"]["attempts"][0]["error"] == {"code": "gave_up", "message": "it gave up"}


@pytest.mark.parametrize(
    ("status", "progress", "eta", "elapsed_s", "wait"),
    [
        ("completed", 100, 8000, 9, None),
        ("failed", 0, 8000, 9, None),
        ("queued", 0, None, 0, 1000),
        ("queued", 0, 100, 0, 250),
        ("queued", 0, 8000, 0, 2000),
        ("queued", 0, 3_600_000, 0, 5000),
        ("in_progress", 50, 8000, 4, 1000),
        ("in_progress", 99, 8000, 60, 250),
        ("in_progress", 50, None, 4, 1000),
        ("in_progress", 5, 1000, 4, 500),
        ("in_progress", 0, 1000, 8, 1000),
        ("in_progress", 0, 1000, -5, 250),
    ],
)
def test_how_soon_to_ask_again(
    status: str, progress: int, eta: int | None, elapsed_s: int, wait: int | None
) -> None:
    video = {"status": status, "progress": progress, "created_at": 1000, "gateway": {"eta_ms": eta}}
    assert poll_after_ms(video, 1000 + elapsed_s) == wait


def test_numbers_as_text() -> None:
    assert [seconds_text(ms) for ms in (4000, 4500, 10_000, 62)] == ["4", "4.5", "10", "0.062"]
    assert [usd_text(micro) for micro in (0, 1, 1_500_000, 10_000_000)] == ["0", "0.000001", "1.5", "10"]
