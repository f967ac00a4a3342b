"""The files of a finished video: streamed from the store, with ranges and validators."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable
from email.utils import format_datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.errors import ApiError
from gateway.api.params import VideoId
from gateway.db.keys import Caller
from gateway.jobs.records import Artefact, VideoRecord, get_artefact, get_video
from gateway.jobs.runtime import Runtime
from gateway.media import Missing, Store

router = APIRouter(prefix="/v1/videos", tags=["videos"])

Variant = Literal["video", "thumbnail", "spritesheet"]
Spans = list[tuple[int, int]]
"""Parts of a file, each from its first byte up to, and without, its second number."""

MAX_SPANS = 100
_SPAN = r"(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})"
_RANGE = re.compile(rf"bytes=({_SPAN}(?:\s*,\s*{_SPAN})*)")
_EXTENSIONS = {"video/mp4": "mp4", "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
MEDIA_TYPES: dict[str, Any] = {"content": {media_type: {} for media_type in _EXTENSIONS}}


@router.get("/{video_id}/content", response_class=Response, responses={200: MEDIA_TYPES, 206: MEDIA_TYPES})
def content(
    request: Request,
    caller: Authenticated,
    video_id: VideoId,
    variant: Annotated[Variant, Query()] = "video",
) -> Response:
    """The clip, its thumbnail or its sprite sheet."""
    runtime = runtime_of(request)
    artefact = finished_file(runtime, caller, video_id, variant)
    return stored_file(request, runtime.store, video_id, artefact, cache="private, no-cache")


@router.head("/{video_id}/content", include_in_schema=False)
def content_head(
    request: Request,
    caller: Authenticated,
    video_id: VideoId,
    variant: Annotated[Variant, Query()] = "video",
) -> Response:
    """The headers of the same."""
    return content(request, caller, video_id, variant)


def finished_file(runtime: Runtime, caller: Caller, video_id: str, variant: Variant) -> Artefact:
    """What a finished video of this caller has of this kind.

    Raises:
        VideoNotFound: unknown, deleted, or another tenant's.
        ApiError: 404, it is not finished, has failed, or has nothing of this kind.
    """
    with runtime.db.read() as connection:
        record = get_video(connection, caller, video_id)
        artefact = get_artefact(connection, video_id, variant)
    _refuse_unfinished(record)
    if artefact is None:
        raise ApiError(
            404, "variant_not_found", f"This video has no {variant}: ask for variant=video.", param="variant"
        )
    return artefact


def stored_file(request: Request, store: Store, video_id: str, artefact: Artefact, *, cache: str) -> Response:
    """Answer with an object of the store: 200, 206 for a range, or 304 for one that the caller has.

    Raises:
        ApiError: 410, the store lost it; 416, the range lies outside of it.
    """
    etag = f'"{artefact.sha256}"'
    headers = {"etag": etag, "cache-control": cache}
    if _matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    try:
        found = store.stat(artefact.key)
    except Missing:
        raise _lost(video_id) from None
    suffix = "" if artefact.variant == "video" else f"-{artefact.variant}"
    name = f"{video_id}{suffix}.{_EXTENSIONS[artefact.media_type]}"
    headers |= {
        "accept-ranges": "bytes",
        "content-disposition": f'attachment; filename="{name}"',
        "last-modified": format_datetime(found.modified_at, usegmt=True),
    }
    spans = asked_spans(request, headers, found.bytes)

    def read(start: int, end: int) -> AsyncIterator[bytes]:
        return store.stream(artefact.key, start, end)

    return _ranged(request, read, found.bytes, spans, headers, artefact.media_type)


def asked_spans(request: Request, headers: dict[str, str], size: int) -> Spans:
    """The parts of the file that are asked for, in order and not overlapping; none for the whole of it.

    RFC 9110 sections 13.1.5 and 14.2: a Range that cannot be parsed, or of another version, is ignored.

    Raises:
        ApiError: 416, one of them begins outside of the file.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    held = request.headers.get("if-range")
    if match is None or (held is not None and held not in (headers["etag"], headers["last-modified"])):
        return []
    ends = [tuple(part.strip().split("-")) for part in match[1].split(",")]
    if len(ends) > MAX_SPANS or any(first and last and int(first) > int(last) for first, last in ends):
        return []
    merged: Spans = []
    for start, end in sorted(_span(first, last, size) for first, last in ends):
        if start >= size:
            raise _out_of_range(size)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _ranged(
    request: Request,
    read: Callable[[int, int], AsyncIterator[bytes]],
    size: int,
    spans: Spans,
    headers: dict[str, str],
    media_type: str,
) -> Response:
    """The whole file, one part of it, or several as ``multipart/byteranges`` (RFC 9110 section 14.6)."""
    if not spans:
        status, body, length = 200, read(0, size), size
    elif len(spans) == 1:
        ((start, end),) = spans
        status, body, length = 206, read(start, end), end - start
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    else:
        boundary = secrets.token_hex(13)
        parts = [
            (
                f"--{boundary}\r\ncontent-type: {media_type}\r\n"
                f"content-range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode(),
                (start, end),
            )
            for start, end in spans
        ]
        tail = f"--{boundary}--".encode()
        length = sum(len(head) + end - start + 2 for head, (start, end) in parts) + len(tail)
        status, body = 206, _multipart(read, parts, tail)
        media_type = f"multipart/byteranges; boundary={boundary}"
    headers["content-length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(body, status, headers, media_type)


async def _multipart(
    read: Callable[[int, int], AsyncIterator[bytes]],
    parts: list[tuple[bytes, tuple[int, int]]],
    tail: bytes,
) -> AsyncIterator[bytes]:
    for head, (start, end) in parts:
        yield head
        async for chunk in read(start, end):
            yield chunk
        yield b"\r\n"
    yield tail


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


def _matches(if_none_match: str, etag: str) -> bool:
    """RFC 9110 section 13.1.2: weak comparison with any of the listed tags."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _lost(video_id: str) -> ApiError:
    return ApiError(
        410,
        "content_missing",
        "The file is gone from storage. You are not charged again for it: ask the operator to restore "
        f"{video_id}.",
        param="video_id",
    )


def _out_of_range(size: int) -> ApiError:
    return ApiError(
        416,
        "range_not_satisfiable",
        f"The range lies outside the file, which has {size} bytes.",
        param="Range",
        headers={"content-range": f"bytes */{size}"},
    )
