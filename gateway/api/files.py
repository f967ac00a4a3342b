"""Signed URLs: a file of a finished video, for whoever holds the address, until it expires."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.content import MEDIA_TYPES, Variant, finished_file, stored_file
from gateway.api.errors import ApiError
from gateway.api.params import VideoId
from gateway.api.signing import BadToken, ExpiredToken, SignedFile, read_token, sign
from gateway.jobs.records import get_artefact

router = APIRouter(prefix="/v1", tags=["videos"])

DEFAULT_EXPIRY_S = 3600


class UrlRequest(BaseModel):
    """What the URL is to give; ``expires_in`` in seconds."""

    model_config = ConfigDict(extra="forbid")

    variant: Variant = "video"
    expires_in: int = Field(default=DEFAULT_EXPIRY_S, ge=60, le=604_800)


class VideoUrl(BaseModel):
    """An address that needs no key; ``expires_at`` in seconds since 1970."""

    object: Literal["video.url"] = "video.url"
    url: str
    expires_at: int


@router.post("/videos/{video_id}/url", response_model=VideoUrl)
def make_url(
    request: Request, caller: Authenticated, video_id: VideoId, body: UrlRequest | None = None
) -> JSONResponse:
    """Make an address for a file of a finished video that needs no key."""
    runtime, asked = runtime_of(request), body or UrlRequest()
    finished_file(runtime, caller, video_id, asked.variant)
    expires_at = int(time.time()) + asked.expires_in
    token = sign(runtime.pepper, SignedFile(video_id, asked.variant, expires_at))
    base = runtime.settings.public_url or str(request.base_url)
    return JSONResponse(
        VideoUrl(url=f"{base.rstrip('/')}/v1/files/{token}", expires_at=expires_at).model_dump(),
        headers={"cache-control": "no-store"},
    )


@router.get("/files/{token}", response_class=Response, responses={200: MEDIA_TYPES, 206: MEDIA_TYPES})
def file(request: Request, token: str) -> Response:
    """The file behind a signed address."""
    runtime = runtime_of(request)
    try:
        signed = read_token(runtime.pepper, token, time.time())
    except ExpiredToken:
        raise ApiError(
            410,
            "url_expired",
            "This address has expired: ask for a new one with POST /v1/videos/{video_id}/url.",
            param="token",
        ) from None
    except BadToken:
        raise _no_such_file() from None
    with runtime.db.read() as connection:
        artefact = get_artefact(connection, signed.video_id, signed.variant)
    if artefact is None or artefact.deleted:
        raise _no_such_file()
    return stored_file(request, runtime.store, signed.video_id, artefact, cache="private")


@router.head("/files/{token}", include_in_schema=False)
def file_head(request: Request, token: str) -> Response:
    """The headers of the same."""
    return file(request, token)


def _no_such_file() -> ApiError:
    return ApiError(
        404,
        "file_not_found",
        "There is no such file: the address is incomplete or was changed, or its video was deleted.",
        param="token",
    )
