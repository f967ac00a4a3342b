from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.api import events
from gateway.jobs.records import Event, VideoNotFound

Look = tuple[list[Event], bool]


def event(seq: int, kind: str = "video.progress", **data: Any) -> Event:
    return Event(seq=seq, type=kind, data=data, created_at=datetime(2026, 11, 20, tzinfo=UTC))


async def streamed(monkeypatch: pytest.MonkeyPatch, looks: list[Look | Exception], seq: int = 0) -> list[str]:
    """What the stream says when its looks at the table find this; a heartbeat is due at every idle look."""
    asked: list[int] = []

    def look(runtime: object, tenant_id: str, video_id: str, after: int) -> Look:
        asked.append(after)
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        assert all(item.seq > after for item in found[0])
        return found

    monkeypatch.setattr(events, "_look", look)
    monkeypatch.setattr(events, "MIN_LOOK_S", 0)
    monkeypatch.setattr(events, "HEARTBEAT_S", 0)
    runtime: Any = SimpleNamespace(draining=threading.Event())
    said = [text async for text in events._stream(runtime, "ten_1", "video_1", seq)]
    assert not looks, f"{len(looks)} looks were not taken; asked after {asked}"
    return said


async def test_events_heartbeats_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done = event(3, "video.completed", charge_micro_usd=4, model="echo")
    said = await streamed(
        monkeypatch, [([event(1), event(2)], False), ([], False), ([done], True), ([], True)]
    )
    assert [text.split("\n")[0] for text in said] == ["id: 1", "id: 2", ": still here", "id: 3"]
    assert all(text.endswith("\n\n") for text in said)
    assert 'event: video.completed\ndata: {"created_at":1795132800.0,"charge_usd":"0.000004"' in said[-1]


async def test_a_page_of_the_past_is_not_taken_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = await streamed(monkeypatch, [([event(8)], True), ([event(9)], True), ([], True)], seq=7)
    assert [text.split("\n")[0] for text in said] == ["id: 8", "id: 9"]


async def test_deleting_the_video_ends_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await streamed(monkeypatch, [VideoNotFound("video_1")]) == []
