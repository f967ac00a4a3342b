"""A FastAPI app that returns a constant: the yardstick, and the provider behind LiteLLM.

``BENCH_CLIP`` names the file that every video's content is; it may be replaced while the app runs.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

_CLIP = os.environ["BENCH_CLIP"]
_VIDEO = {
    "id": "video_constant",
    "object": "video",
    "model": "echo-remote",
    "status": "queued",
    "progress": 0,
    "created_at": 1_790_000_000,
    "completed_at": None,
    "expires_at": None,
    "prompt": "A paper boat on a quiet pond",
    "seconds": "2",
    "size": "320x180",
    "remixed_from_video_id": None,
    "error": None,
}

app = FastAPI()


@app.post("/v1/videos")
async def create() -> dict[str, Any]:
    """Take nothing in, and say that it is queued."""
    return _VIDEO


@app.get("/v1/videos/{video_id}")
async def retrieve(video_id: str) -> dict[str, Any]:
    """The same again."""
    return _VIDEO


@app.get("/v1/videos/{video_id}/content")
async def content(video_id: str) -> FileResponse:
    """The clip."""
    return FileResponse(_CLIP, media_type="video/mp4")
