"""A planned job as the body of a create."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Literal

from pydantic import ValidationError

from adapters.seedance._prompt import without_flags
from adapters.seedance._settings import PresetParams, SeedanceOptions
from adapters.seedance._wire import PROVIDER, Draft, Image, Order, TaskId, Text, Url, shape_of
from gateway.spec import BadRequest, ImageRole, Job, Note, Ticket, Unsupported

_ROLES: dict[ImageRole, Literal["first_frame", "last_frame", "reference_image"]] = {
    "first_frame": "first_frame",
    "last_frame": "last_frame",
    "reference": "reference_image",
}
_MOST_SENT = 63_000_000
"""Bytes of images in base64: a whole request may have 64 MB."""

_EXPIRES_S = (3600, 259_200)
"""How soon and how late a task may expire."""


def order_of(job: Job, account: str, options: SeedanceOptions) -> tuple[Order, tuple[Note, ...]]:
    """The order that ``account`` places, and what the caller should know of it.

    Raises:
        BadRequest: nothing is left of the prompt.
        Unsupported: images in parts that do not go together or are too much, a camera that this model cannot
            hold still, or a draft of another account.
    """
    draft = _draft(job, account)
    if draft is not None:
        return _finishing(job, options, draft), ()
    prompt, notes = _prompt(job)
    return _whole(job, options, prompt), notes


def notes_of(job: Job, account: str) -> tuple[Note, ...]:
    """What the caller should know of an order that was placed; its images are not looked at."""
    return () if _draft(job, account) is not None else _prompt(job)[1]


def _prompt(job: Job) -> tuple[str, tuple[Note, ...]]:
    prompt, notes = without_flags(job.request.prompt)
    if job.request.continues is not None:
        detail = "the preview is gone at the provider's, so the final video is made from the beginning"
        notes = (*notes, Note(code="restarted", detail=detail))
    return prompt, notes


def _whole(job: Job, options: SeedanceOptions, prompt: str) -> Order:
    params = PresetParams.model_validate(job.preset.params)
    if options.camera_fixed is not None and (not params.holds_camera or job.request.image("reference")):
        raise Unsupported(f"{PROVIDER} has no camera_fixed for this model, or these images; leave it out.")
    resolution, ratio = shape_of(job.output.size)
    framed = job.request.image("first_frame") is not None
    return Order(
        model=job.offer.upstream,
        content=(*_text(job, prompt), *_images(job)),
        resolution="480p" if params.draft else resolution,
        ratio=None if params.frame_sets_ratio and framed else ratio,
        duration=int(job.output.seconds),
        seed=job.request.seed,
        camera_fixed=options.camera_fixed,
        watermark=options.watermark,
        generate_audio=job.output.audio if params.takes_sound else None,
        draft=True if params.draft else None,
        service_tier=params.service_tier,
        execution_expires_after=_expires(job),
        return_last_frame=True if options.return_last_frame and not params.draft else None,
        callback_url=job.callback_url,
        safety_identifier=job.tag,
    )


def _finishing(job: Job, options: SeedanceOptions, draft: Ticket) -> Order:
    """What a draft was made of is taken over by the provider; it is not said again."""
    return Order(
        model=job.offer.upstream,
        content=(Draft(draft_task=TaskId(id=draft.id)),),
        resolution=shape_of(job.output.size)[0],
        watermark=options.watermark,
        service_tier=PresetParams.model_validate(job.preset.params).service_tier,
        execution_expires_after=_expires(job),
        return_last_frame=True if options.return_last_frame else None,
        callback_url=job.callback_url,
        safety_identifier=job.tag,
    )


def _draft(job: Job, account: str) -> Ticket | None:
    """The ticket of the preview that this job finishes; None if it finishes none, or that is gone."""
    state = job.read_checkpoint() if job.request.continues is not None else None
    if state is None:
        return None
    try:
        ticket = Ticket.model_validate_json(state)
    except ValidationError:
        raise Unsupported(f"{PROVIDER} was not asked: the preview left no ticket to go on from.") from None
    if ticket.data.get("account") != account:
        raise Unsupported(f"{PROVIDER} was not asked: the preview was made with another account.")
    return ticket


def _text(job: Job, prompt: str) -> Iterator[Text]:
    if prompt:
        yield Text(text=prompt)
    elif not job.request.images:
        raise BadRequest("Nothing is left of the prompt without its flags; write what the video shows.")


def _images(job: Job) -> Iterator[Image]:
    roles = {image.role for image in job.request.images}
    if "reference" in roles and len(roles) > 1:
        raise Unsupported(f"{PROVIDER} takes references or frames, not both; leave the one or the other out.")
    if roles == {"last_frame"}:
        raise Unsupported(f"{PROVIDER} takes a last frame beside a first one only; send both.")
    if sum(image.bytes for image in job.request.images) * 4 / 3 > _MOST_SENT:
        raise Unsupported(f"{PROVIDER} takes 64 MB with all images; send fewer, or smaller ones.")
    for image in job.request.images:
        yield Image(image_url=Url(url=_data_url(job.read_image(image))), role=_ROLES[image.role])


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _expires(job: Job) -> int | None:
    """A task that is not done by the caller's deadline need not be made at all."""
    if job.request.deadline is None:
        return None
    soonest, latest = _EXPIRES_S
    return min(max(job.request.deadline, soonest), latest)
