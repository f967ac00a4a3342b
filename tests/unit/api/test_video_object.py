from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gateway.api.video_object import poll_after_ms, seconds_text, usd_text, video_object
from gateway.jobs.records import LATENCY_PARTS, AttemptRecord, VideoRecord
from gateway.spec import Candidate, Output, Plan, VideoRequest

CREATED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CANDIDATE = Candidate(
    model="echo",
    offer="echo/echo",
    adapter="echo",
    account="local",
    preset="standard",
    output=Output(size="320x180", seconds=Decimal(4), fps=16, audio=False),
    estimate_usd=Decimal("0.02"),
    price_version="v1",
    eta_ms=8000,
    reason="because",
)
ATTEMPT = AttemptRecord(
    id="att_1",
    number=1,
    state="failed",
    model="echo",
    offer="echo/echo",
    adapter="echo",
    preset="standard",
    price_version="v1",
    output={},
    estimate_micro_usd=20_000,
    actual_micro_usd=None,
    stage=None,
    error_code="gave_up",
    error_message="it gave up",
    latency={**dict.fromkeys(LATENCY_PARTS), "queued_ms": 12},
)


def record(**changes: Any) -> VideoRecord:
    values: dict[str, Any] = {
        "id": "video_1",
        "tenant_id": "ten_1",
        "status": "queued",
        "progress": 0,
        "request": VideoRequest(prompt="a cat", mode="preview"),
        "plan": Plan(chosen=CANDIDATE, candidates=(CANDIDATE,), dropped=(), policy="tiered", branch="basic"),
        "tier": "basic",
        "model": "echo",
        "size": "320x180",
        "clip_ms": 4000,
        "estimate_micro_usd": 20_000,
        "hold_micro_usd": 30_001,
        "charge_micro_usd": None,
        "created_at": CREATED,
        "completed_at": None,
        "deadline_at": CREATED,
        "remixed_from": None,
        "error_code": None,
        "error_message": None,
        "notes": (),
        "attempts": (),
    }
    known = VideoRecord.__dataclass_fields__
    return VideoRecord(**{name: value for name, value in (values | changes).items() if name in known})


def test_openais_fields_are_exactly_openais() -> None:
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
        "error": None,
    }
    assert gateway["queue_place"] == 2
    assert (gateway["offer"], gateway["preset"], gateway["mode"]) == ("echo/echo", "standard", "preview")
    assert (gateway["estimate_usd"], gateway["hold_usd"], gateway["charge_usd"]) == ("0.02", "0.030001", None)
    assert gateway["plan"] == {
        "policy": "tiered",
        "branch": "basic",
        "reason": "because",
        "candidates": 1,
        "dropped": 0,
    }


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
