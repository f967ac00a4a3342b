"""A video's history as server-sent events: what happened, then what happens, until it is finished."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.params import VideoId
from gateway.api.video_object import usd_text
from gateway.db.keys import Caller
from gateway.jobs.records import Event, VideoNotFound, events_after, get_video
from gateway.jobs.runtime import Runtime

router = APIRouter(prefix="/v1/videos", tags=["videos"])

MIN_LOOK_S, MAX_LOOK_S = 0.2, 1.0
HEARTBEAT_S = 15.0
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

Seq = Annotated[int, Query(ge=0, le=2**31 - 1)]
LastEventId = Annotated[int | None, Header(ge=0, le=2**31 - 1)]


@router.get(
    "/{video_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    caller: Authenticated,
    video_id: VideoId,
    after: Seq = 0,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Events after number ``after`` (or the Last-Event-ID header, which wins), each with its number as id."""
    runtime = runtime_of(request)
    seq = after if last_event_id is None else last_event_id
    await to_thread.run_sync(_look, runtime, caller, video_id, seq)  # a foreign id is a 404 here
    stream = _stream(runtime, caller, video_id, seq)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


async def _stream(runtime: Runtime, caller: Caller, video_id: str, seq: int) -> AsyncIterator[str]:
    wait = MIN_LOOK_S
    spoke = time.monotonic()
    while not runtime.draining.is_set():
        try:
            found, finished = await to_thread.run_sync(_look, runtime, caller, video_id, seq)
        except VideoNotFound:
            return  # deleted meanwhile
        for event in found:
            yield _line(event)
            seq = event.seq
        if finished and not found:
            return
        if found:
            wait, spoke = MIN_LOOK_S, time.monotonic()
            continue
        if time.monotonic() - spoke >= HEARTBEAT_S:
            yield ": still here\n\n"
            spoke = time.monotonic()
        await anyio.sleep(wait)
        wait = min(wait * 1.5, MAX_LOOK_S)


def _look(runtime: Runtime, caller: Caller, video_id: str, seq: int) -> tuple[list[Event], bool]:
    """Events after ``seq``, and whether these are the last: read first, so that none can slip between."""
    with runtime.db.read() as connection:
        finished = get_video(connection, caller, video_id).terminal
        return events_after(connection, video_id, seq), finished


def _line(event: Event) -> str:
    shown: dict[str, Any] = {"created_at": event.created_at.timestamp()}
    for name, value in event.data.items():
        money = name.endswith("_micro_usd") and value is not None
        shown[name.replace("_micro_usd", "_usd")] = usd_text(value) if money else value
    return f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(shown, separators=(',', ':'))}\n\n"
