"""A final video of an approved preview: on the final slot for its tier, quality and audio, tied to what was
seen as strongly as both sides allow."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.db.keys import Caller
from gateway.db.tables import videos
from gateway.jobs.accept import Accepted, Origin, accept, dry_run
from gateway.jobs.continuation import continuation
from gateway.jobs.errors import CheckpointMissing, NotAPreview, NotContinuable, NotFinished
from gateway.jobs.idempotency import Idempotency, Reply
from gateway.jobs.records import VideoRecord, get_artefact, get_request, get_video
from gateway.jobs.resources import Resources
from gateway.media import Missing, check_image, end_frames
from gateway.routing.continuity import Continuity, Tied, strongest
from gateway.spec import ImageRole, InputImage, LocalAdapter, VideoRequest

SHAPE = ("size", "resolution", "aspect_ratio", "seconds", "fps")
"""What a final that goes on from kept latents cannot have otherwise than its preview."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """How a preview would be finalised: the tie and its plan, and the images that the request names."""

    preview: VideoRecord
    tied: Tied
    images: Mapping[str, bytes]


def existing_final(resources: Resources, caller: Caller, video_id: str) -> VideoRecord | None:
    """The final that a preview has already; one that failed does not count.

    Raises:
        VideoNotFound: unknown, deleted, or not this caller's.
    """
    query = sa.select(videos.c.id).where(
        videos.c.finalized_from == video_id, videos.c.status != "failed", videos.c.deleted_at.is_(None)
    )
    with resources.db.read() as connection:
        get_video(connection, caller, video_id)
        found = connection.execute(query).scalar_one_or_none()
        return None if found is None else get_video(connection, caller, found)


def plan_final(resources: Resources, caller: Caller, video_id: str, wishes: Mapping[str, Any]) -> Final:
    """Find the strongest tie between a preview and its final; nothing is made.

    ``wishes`` are fields of a request that the final is to have otherwise than its preview.

    Raises:
        VideoNotFound: unknown, deleted, or not this caller's.
        NotAPreview: it was not made in mode preview, or it failed.
        NotFinished: it is still being made.
        UnknownModel, TierTooHigh, SandboxOff: as for :func:`gateway.jobs.accept.dry_run`.
    """
    with resources.db.read() as connection:
        preview = get_video(connection, caller, video_id)
        asked = get_request(connection, caller, video_id)
    if preview.mode != "preview" or preview.status == "failed":
        raise NotAPreview(preview.error_code if preview.status == "failed" else None)
    if not preview.terminal:
        raise NotFinished(video_id)
    images = _Images(resources, asked)
    plain = _untied(asked, wishes)

    def planned(continuity: Continuity, request: VideoRequest) -> Tied:
        return Tied(continuity, request, dry_run(resources, caller, request))

    ways = [
        planned(*way)
        for way in (
            *_kept_state(resources, caller, preview, wishes),
            *_conditioned(resources, video_id, images, plain),
            *_seeded(preview, plain),
        )
    ]
    tied = strongest(ways, planned("prompt_only", plain))
    named = tuple(image.model_copy(update={"key": image.sha256}) for image in tied.request.images)
    request = tied.request.model_copy(update={"images": named})
    return Final(preview=preview, tied=tied._replace(request=request), images=images.of(request))


def _untied(asked: VideoRequest, wishes: Mapping[str, Any]) -> VideoRequest:
    """What was asked for with the preview as a final of its own; a size that is wished for replaces its."""
    reset: dict[str, Any] = {"model": "auto", "mode": "final", "preset": None, "continues": None}
    if "size" in wishes or "resolution" in wishes:
        reset |= {"size": None, "resolution": None}
    return asked.model_copy(update=reset | dict(wishes))


def finalize(
    resources: Resources,
    caller: Caller,
    final: Final,
    *,
    reply: Callable[[VideoRecord], Reply],
    idempotency: Idempotency | None = None,
) -> Accepted:
    """Accept the final; a preview that has one already is answered with that.

    Raises:
        PlanRefused and all else that :func:`gateway.jobs.accept.accept` raises.
    """
    origin = Origin(finalized_from=final.preview.id, continuity=final.tied.continuity)
    try:
        return accept(
            resources,
            caller,
            final.tied.request,
            final.images,
            reply=reply,
            idempotency=idempotency,
            origin=origin,
        )
    except sa.exc.IntegrityError:
        made = existing_final(resources, caller, final.preview.id)
        if made is None:
            raise
        return Accepted(reply=reply(made), replayed=True)


def lineage(resources: Resources, caller: Caller, video_id: str) -> list[VideoRecord]:
    """All living videos that come from the same preview, oldest first, this one among them.

    Raises:
        VideoNotFound: unknown, deleted, or not this caller's.
    """
    with resources.db.read() as connection:
        root = get_video(connection, caller, video_id).lineage_id or video_id
        related = sa.select(videos.c.id).where(
            (videos.c.lineage_id == root) | (videos.c.id == root),
            videos.c.tenant_id == caller.tenant_id,
            videos.c.livemode == caller.livemode,
            videos.c.deleted_at.is_(None),
        )
        ids = connection.execute(related.order_by(videos.c.id)).scalars().all()
        return [get_video(connection, caller, found) for found in ids]


class _Images:
    """The bytes of a request's images by sha256, from the store, and of those that are made here."""

    def __init__(self, resources: Resources, asked: VideoRequest) -> None:
        self._store = resources.store
        self._keys = {image.sha256: image.key for image in asked.images}
        self._made: dict[str, bytes] = {}

    def add(self, role: ImageRole, data: bytes) -> InputImage:
        """Take in a picture that was made from the preview."""
        checked = check_image(data)
        sha256 = hashlib.sha256(checked.data).hexdigest()
        self._made[sha256] = checked.data
        return InputImage(
            role=role,
            key=sha256,
            sha256=sha256,
            media_type=checked.media_type,
            width=checked.width,
            height=checked.height,
            bytes=len(checked.data),
        )

    def of(self, request: VideoRequest) -> dict[str, bytes]:
        """The bytes of this request's images.

        Raises:
            Missing: one is gone from the store.
        """
        return {
            image.sha256: self._made.get(image.sha256) or self._store.read(self._keys[image.sha256])
            for image in request.images
        }


def _kept_state(
    resources: Resources, caller: Caller, preview: VideoRecord, wishes: Mapping[str, Any]
) -> Iterator[tuple[Continuity, VideoRequest]]:
    """Going on from what the preview's own maker kept, if it did."""
    try:
        request = continuation(resources, caller, preview.id)
    except (NotContinuable, CheckpointMissing):
        return
    named = wishes.get("model", request.model)
    made = preview.attempts[-1]
    local = isinstance(resources.registry.adapters.get(made.adapter), LocalAdapter)
    if named != request.model or (local and any(name in wishes for name in SHAPE)):
        return
    yield "resumed_latents" if local else "native_draft", request.model_copy(update=wishes)


def _conditioned(
    resources: Resources, video_id: str, images: _Images, plain: VideoRequest
) -> Iterator[tuple[Continuity, VideoRequest]]:
    """The preview's first and last frame as the final's; a first frame that the caller gave stays."""
    with resources.db.read() as connection:
        clip = get_artefact(connection, video_id, "video")
    if clip is None or clip.deleted or not _has_room_for_frames(plain):
        return
    resources.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=resources.scratch, prefix=f"{video_id}-") as folder:
        try:
            path, _ = resources.store.as_file(clip.key, Path(folder))
        except Missing:
            return
        first, last = end_frames(path)
    given = plain.image("first_frame")
    start = images.add("first_frame", first) if given is None else given
    yield "first_last_frame", plain.model_copy(update={"images": (start, images.add("last_frame", last))})
    yield "first_frame", plain.model_copy(update={"images": (start,)})


def _has_room_for_frames(plain: VideoRequest) -> bool:
    """The caller's own last frame and references are not to be taken away."""
    return all(image.role == "first_frame" for image in plain.images)


def _seeded(preview: VideoRecord, plain: VideoRequest) -> Iterator[tuple[Continuity, VideoRequest]]:
    """The same seed means something to the same model alone."""
    if plain.seed is not None and plain.model in ("auto", preview.model):
        yield "same_seed", plain.model_copy(update={"model": preview.model})
