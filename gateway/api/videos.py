"""Creating, planning, reading, cancelling, remixing, continuing and deleting videos."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.errors import ApiError, invalid, plan_refused
from gateway.api.forms import Form, read_form
from gateway.api.params import VideoId, checked_video_id
from gateway.api.pictures import check_images, fetch_images
from gateway.api.schemas import CONTINUE_BODY, CREATE_BODY, REMIX_BODY, DeletedVideo, VideoList
from gateway.api.threads import in_sql_thread
from gateway.api.video_object import POLL_AFTER_HEADER, Video, poll_after_ms, video_object
from gateway.api.wire import Sent, SentImage, read_continue, read_create, read_remix
from gateway.db.keys import Caller
from gateway.jobs.accept import NEW, Origin, accept, dry_run
from gateway.jobs.continuation import continuation
from gateway.jobs.control import cancel_video, delete_video
from gateway.jobs.errors import PlanRefused
from gateway.jobs.idempotency import Idempotency, first_reply
from gateway.jobs.records import VideoNotFound, get_request, get_video, list_videos, queue_place
from gateway.jobs.runtime import Runtime
from gateway.media import Missing
from gateway.spec import Plan, VideoRequest

router = APIRouter(prefix="/v1/videos", tags=["videos"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


@router.post("", response_model=Video, openapi_extra=CREATE_BODY)
async def create(
    request: Request, caller: Authenticated, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Accept a video to be made."""
    runtime = runtime_of(request)
    sent = read_create(await read_body(request, runtime))
    idempotency = idempotency_of(caller, idempotency_key, "create", sent.request, sent.images)
    if idempotency is not None and sent.images:  # a replay neither fetches nor decodes them again
        earlier = await in_sql_thread(request, partial(first_reply, runtime.db, caller, idempotency))
        if earlier is not None:
            return video_reply(earlier, replayed=True)
    asked, images = await _with_images(request, runtime, sent)
    return await _accepted(request, caller, asked, images, idempotency)


@router.post("/plan", response_model=Plan, openapi_extra=CREATE_BODY)
async def plan(request: Request, caller: Authenticated) -> JSONResponse:
    """Show how a create with this body would be served, at what price and why; nothing is made."""
    runtime = runtime_of(request)
    asked, _ = await _with_images(request, runtime, read_create(await read_body(request, runtime)))
    decided = await in_sql_thread(request, partial(dry_run, runtime, caller, asked))
    return JSONResponse(decided.model_dump(mode="json"))


@router.get("", response_model=VideoList)
def list_all(
    request: Request,
    caller: Authenticated,
    after: str | None = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> JSONResponse:
    """The caller's videos by age, a page at a time."""
    try:
        with runtime_of(request).db.read() as connection:
            page, more = list_videos(
                connection,
                caller,
                after=after if after is None else checked_video_id(after),
                limit=limit,
                ascending=order == "asc",
            )
    except VideoNotFound:
        message = "'after' is not the id of a video: send the last_id of the page before."
        raise invalid("after", message) from None
    data = [video_object(record) for record in page]
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": more,
        }
    )


@router.get("/{video_id}", response_model=Video)
async def retrieve(request: Request, caller: Authenticated, video_id: VideoId) -> JSONResponse:
    """One video as it stands."""
    runtime = runtime_of(request)

    def look() -> dict[str, Any]:
        with runtime.db.read() as connection:
            record = get_video(connection, caller, video_id)
            place = queue_place(connection, record) if record.status == "queued" else None
        return video_object(record, place)

    return video_reply(await in_sql_thread(request, look))


@router.delete("/{video_id}", response_model=DeletedVideo)
def delete(request: Request, caller: Authenticated, video_id: VideoId) -> JSONResponse:
    """Delete a finished video and its files; what it cost stays on record."""
    delete_video(runtime_of(request), caller, video_id)
    return JSONResponse(DeletedVideo(id=video_id).model_dump())


@router.post("/{video_id}/cancel", response_model=Video)
def cancel(request: Request, caller: Authenticated, video_id: VideoId) -> JSONResponse:
    """Ask for a video to be stopped; one that is finished is answered as it is."""
    return video_reply(video_object(cancel_video(runtime_of(request), caller, video_id)))


@router.post("/{video_id}/remix", response_model=Video, openapi_extra=REMIX_BODY)
async def remix(
    request: Request, caller: Authenticated, video_id: VideoId, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Make the same request again with a new prompt, planned anew."""
    runtime = runtime_of(request)
    form = await read_body(request, runtime)
    source = await in_sql_thread(request, partial(_source, runtime, caller, video_id))
    asked, images = await to_thread.run_sync(_stored_images, runtime, read_remix(form, source))
    idempotency = idempotency_of(caller, idempotency_key, f"remix {video_id}", asked)
    return await _accepted(request, caller, asked, images, idempotency, Origin(remixed_from=video_id))


@router.post("/{video_id}/continue", response_model=Video, openapi_extra=CONTINUE_BODY)
async def continue_preview(
    request: Request, caller: Authenticated, video_id: VideoId, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Make the final video of a prefix preview from the state that it kept."""
    runtime = runtime_of(request)
    form = await read_body(request, runtime) if await request.body() else Form(fields={})
    source = await in_sql_thread(request, partial(continuation, runtime, caller, video_id))
    asked, images = await to_thread.run_sync(_stored_images, runtime, read_continue(form, source))
    idempotency = idempotency_of(caller, idempotency_key, f"continue {video_id}", asked)
    return await _accepted(request, caller, asked, images, idempotency)


async def read_body(request: Request, runtime: Runtime) -> Form:
    """The body's fields and files, within the settings' limits."""
    settings = runtime.settings
    return await read_form(
        request, max_image_bytes=settings.max_image_bytes, max_body_bytes=settings.max_body_bytes
    )


async def _with_images(
    request: Request, runtime: Runtime, sent: Sent
) -> tuple[VideoRequest, dict[str, bytes]]:
    """The request with its images, and their bytes by sha256."""
    if not sent.images:
        return sent.request, {}
    settings, state, images = runtime.settings, request.app.state, sent.images
    if any(image.address for image in images):
        async with state.fetchers:
            images = await fetch_images(
                images,
                origins=settings.image_origins,
                max_bytes=settings.max_image_bytes,
                max_total=settings.max_body_bytes,
            )
    check = partial(check_images, images, max_bytes=settings.max_image_bytes)
    described, contents = await to_thread.run_sync(check, limiter=state.decoders)
    return sent.request.model_copy(update={"images": described}), contents


def _source(runtime: Runtime, caller: Caller, video_id: str) -> VideoRequest:
    with runtime.db.read() as connection:
        return get_request(connection, caller, video_id)


def _stored_images(runtime: Runtime, asked: VideoRequest) -> tuple[VideoRequest, dict[str, bytes]]:
    """The request with its images named by sha256, and their bytes from the store."""
    try:
        contents = {image.sha256: runtime.store.read(image.key) for image in asked.images}
    except Missing:
        raise ApiError(
            410,
            "content_missing",
            "An input image of that video is gone from storage: create a new video and send the image again. "
            "Nothing was charged.",
            param="video_id",
        ) from None
    renamed = tuple(image.model_copy(update={"key": image.sha256}) for image in asked.images)
    return asked.model_copy(update={"images": renamed}), contents


def idempotency_of(
    caller: Caller, key: str | None, operation: str, asked: VideoRequest, sent: Sequence[SentImage] = ()
) -> Idempotency | None:
    """The key with a fingerprint of the parsed request, in which an image stands as its sha256.

    That of one in ``sent`` is of what was sent, bytes or URL: nothing has been fetched or decoded yet.
    """
    if key is None:
        return None
    told: dict[str, Any] = {"operation": operation, "request": asked.model_dump(mode="json")}
    if not caller.livemode:
        told["livemode"] = False
    if sent:
        told["images"] = [[image.role, hashlib.sha256(image.sent).hexdigest()] for image in sent]
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return Idempotency(key=key, fingerprint=hashlib.sha256(canonical.encode()).hexdigest())


async def _accepted(
    request: Request,
    caller: Caller,
    asked: VideoRequest,
    images: Mapping[str, bytes],
    idempotency: Idempotency | None,
    origin: Origin = NEW,
) -> JSONResponse:
    take = partial(
        accept,
        runtime_of(request),
        caller,
        asked,
        images,
        reply=video_object,
        idempotency=idempotency,
        origin=origin,
    )
    try:
        # images go to the store first, which may take its time
        accepted = await (to_thread.run_sync(take) if images else in_sql_thread(request, take))
    except PlanRefused as error:
        raise plan_refused(error, asked.model, asked.preset) from None
    return video_reply(accepted.reply, replayed=accepted.replayed)


def video_reply(video: dict[str, Any], *, replayed: bool = False) -> JSONResponse:
    """A video, with how long to wait before the next look at it."""
    wait = poll_after_ms(video, time.time())
    headers = {} if wait is None else {POLL_AFTER_HEADER: str(wait)}
    return JSONResponse(video, headers=headers | ({"idempotent-replayed": "true"} if replayed else {}))
