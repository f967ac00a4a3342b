"""The files of a finished video: streamed from the store, with ranges and validators."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.errors import ApiError
from gateway.api.params import VideoId
from gateway.jobs.records import Artefact, VideoRecord, get_artefact, get_video
from gateway.jobs.runtime import Runtime
from gateway.media import Missing

router = APIRouter(prefix="/v1/videos", tags=["videos"])

Variant = Annotated[Literal["video", "thumbnail", "spritesheet"], Query()]
_SPAN = r"(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})"
_RANGE = re.compile(rf"bytes=({_SPAN}(?:\s*,\s*{_SPAN})*)")
_EXTENSIONS = {"video/mp4": "mp4", "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class StoredFile(FileResponse):
    """A file with byte ranges.

    RFC 9110 section 14.2 has a server ignore a Range it cannot parse, where the base class answers 400; and
    a range outside the file is answered in the API's own words.
    """

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).get("range")
        if asked is not None:
            assert self.stat_result is not None
            verdict = _judge_range(asked, self.stat_result.st_size)
            if verdict == "outside":
                await _out_of_range(self.stat_result.st_size).response()(scope, receive, send)
                return
            if verdict == "ignored":
                kept = [(name, value) for name, value in scope["headers"] if name != b"range"]
                scope = {**scope, "headers": kept}
        await super().__call__(scope, receive, send)


@router.get(
    "/{video_id}/content",
    response_class=StoredFile,
    responses={200: {"content": {"video/mp4": {}, "image/webp": {}}}},
)
def content(
    request: Request, caller: Authenticated, video_id: VideoId, variant: Variant = "video"
) -> Response:
    """The clip, its thumbnail or its sprite sheet."""
    runtime = runtime_of(request)
    with runtime.db.read() as connection:
        record = get_video(connection, caller.tenant_id, video_id)
        artefact = get_artefact(connection, video_id, variant)
    _refuse_unfinished(record)
    if artefact is None:
        raise ApiError(
            404, "variant_not_found", f"This video has no {variant}: ask for variant=video.", param="variant"
        )
    etag = f'"{artefact.sha256}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return _stored_file(runtime, record, artefact, headers)


@router.head("/{video_id}/content", include_in_schema=False)
def content_head(
    request: Request, caller: Authenticated, video_id: VideoId, variant: Variant = "video"
) -> Response:
    """The headers of the same."""
    return content(request, caller, video_id, variant)


def _refuse_unfinished(record: VideoRecord) -> None:
    if record.status == "completed":
        return
    if record.status == "failed":
        message = (
            f"The video failed ({record.error_code}), so there is nothing to download: see its 'error', and "
            "create it again."
        )
        raise ApiError(404, "video_failed", message, param="video_id")
    message = (
        f"The video is {record.status} ({record.progress} %): wait until GET /v1/videos/{record.id} says "
        "'completed'."
    )
    raise ApiError(404, "video_not_ready", message, param="video_id")


def _stored_file(
    runtime: Runtime, record: VideoRecord, artefact: Artefact, headers: dict[str, str]
) -> StoredFile:
    try:
        path = runtime.store.path(artefact.key)
        stat = os.stat(path)
    except (Missing, FileNotFoundError):
        raise ApiError(
            410,
            "content_missing",
            "The file is gone from storage. You are not charged again for it: ask the operator to restore "
            f"{record.id}.",
            param="video_id",
        ) from None
    suffix = "" if artefact.variant == "video" else f"-{artefact.variant}"
    return StoredFile(
        path,
        headers=headers,
        media_type=artefact.media_type,
        filename=f"{record.id}{suffix}.{_EXTENSIONS[artefact.media_type]}",
        stat_result=stat,
    )


def _matches(if_none_match: str, etag: str) -> bool:
    """RFC 9110 section 13.1.2: weak comparison with any of the listed tags."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _judge_range(asked: str, size: int) -> Literal["ok", "ignored", "outside"]:
    match = _RANGE.fullmatch(asked.strip())
    if match is None:
        return "ignored"
    ends = [tuple(part.strip().split("-")) for part in match[1].split(",")]
    if any(first and last and int(first) > int(last) for first, last in ends):
        return "ignored"
    starts = [int(first) if first else max(size - int(last), 0) for first, last in ends]
    return "outside" if any(start >= size for start in starts) else "ok"


def _out_of_range(size: int) -> ApiError:
    return ApiError(
        416,
        "range_not_satisfiable",
        f"The range lies outside the file, which has {size} bytes.",
        param="Range",
        headers={"content-range": f"bytes */{size}"},
    )
