"""A job as a Kling order: which path, which body, and what cannot be ordered at all (spec A.3, A.4)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from pydantic import ValidationError

from adapters.kling._models import MODELS, Model
from adapters.kling._settings import KlingOptions, KlingSettings
from adapters.kling._wire import (
    Content,
    LegacyOrder,
    Ratio,
    Resolution,
    TaskOptions,
    TaskOrder,
    TaskSettings,
)
from gateway.kit.options import read_options
from gateway.spec import BadRequest, InputImage, Job, Unsupported, parse_size

LEGACY_ROOT = "/v1/videos/"
TASKS = "/tasks"

_RESOLUTIONS: dict[int, Resolution] = {720: "720p", 1080: "1080p", 2160: "4k"}
_MODES = {"720p": "std", "1080p": "pro", "4k": "4k"}
_RATIOS: dict[Fraction, Ratio] = {Fraction(16, 9): "16:9", Fraction(9, 16): "9:16", Fraction(1): "1:1"}
_NEGATIVE_PROMPT = 2500
_OMNI_IMAGES = 7
_LEGACY_IMAGE_BYTES = 10_000_000
_IMAGE_BYTES = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to POST where; ``tasks`` is the path under which the task is then found."""

    path: str
    tasks: str
    body: LegacyOrder | TaskOrder


def order_of(job: Job, settings: KlingSettings) -> Order:
    """The order for a job.

    Raises:
        BadRequest: an option is wrong.  Unsupported: the model cannot do this, or not through this API.
    """
    model = MODELS.get(job.offer.upstream)
    if model is None:
        raise Unsupported(f"Kling's documentation has no model {job.offer.upstream}.")
    wishes = read_options(job, KlingOptions)
    if wishes.multi_shot and not _takes_multi_shot(model, settings):
        raise Unsupported(f"options.kling.multi_shot: {job.offer.upstream} has no such setting.")
    _check_pairs(job, model)
    try:
        return _legacy(job, model) if model.legacy else _task(job, model, wishes, settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BadRequest(f"Kling would not take this order: {wrong}.") from None


def tasks_path(job: Job) -> str:
    """Where this job's task is found, once it was ordered."""
    return _legacy_path(job) if MODELS[job.offer.upstream].legacy else TASKS


def _check_pairs(job: Job, model: Model) -> None:
    """Refuse what the documentation says does not go together."""
    name, resolution = job.offer.upstream, _resolution(job)
    if model.prompt is not None and len(job.request.prompt) > model.prompt:
        raise Unsupported(f"{name} takes a prompt of {model.prompt} characters at most.")
    if model.negative_prompt and len(job.request.negative_prompt or "") > _NEGATIVE_PROMPT:
        raise Unsupported(f"{name} takes a negative prompt of {_NEGATIVE_PROMPT} characters at most.")
    if job.output.audio and model.sound_at and resolution not in model.sound_at:
        raise Unsupported(f"{name} makes sound at {', '.join(model.sound_at)} only, not at {resolution}.")
    if job.request.image("last_frame") is not None:
        _check_last_frame(job, model, resolution)
    if len(job.request.images) > _OMNI_IMAGES:
        raise Unsupported(f"{name} takes {_OMNI_IMAGES} images in all, {len(job.request.images)} were given.")
    if not model.omni and job.request.image("reference") is not None:
        raise Unsupported(f"{name} takes no reference image.")


def _check_last_frame(job: Job, model: Model, resolution: str) -> None:
    name = job.offer.upstream
    if model.last_frame == "never":
        raise Unsupported(f"{name} takes no last frame.")
    if job.request.image("first_frame") is None:
        raise Unsupported(f"{name} takes a last frame beside a first one only.")
    if model.last_frame != "any" and resolution != "1080p":
        raise Unsupported(f"{name} takes a last frame at 1080p only, not at {resolution}.")
    if model.last_frame == "silent 1080p" and job.output.audio:
        raise Unsupported(f"{name} takes a last frame without sound only.")


def _legacy(job: Job, model: Model) -> Order:
    first, last = job.request.image("first_frame"), job.request.image("last_frame")
    body = LegacyOrder(
        model_name=job.offer.upstream,
        prompt=job.request.prompt,
        negative_prompt=job.request.negative_prompt if model.negative_prompt else None,
        mode=_MODES[_resolution(job)],
        sound=("on" if job.output.audio else "off") if model.sound else None,
        duration=f"{job.output.seconds.normalize():f}",
        aspect_ratio=None if first is not None else _ratio(job),
        image=_base64(job, first, _LEGACY_IMAGE_BYTES) if first is not None else None,
        image_tail=_base64(job, last, _LEGACY_IMAGE_BYTES) if last is not None else None,
        callback_url=job.callback_url,
        external_task_id=job.tag,
    )
    path = _legacy_path(job)
    return Order(path=path, tasks=path, body=body)


def _legacy_path(job: Job) -> str:
    return LEGACY_ROOT + ("image2video" if job.request.images else "text2video")


def _task(job: Job, model: Model, wishes: KlingOptions, settings: KlingSettings) -> Order:
    first = job.request.image("first_frame")
    shape = TaskSettings(
        resolution=_resolution(job),
        aspect_ratio=None if first is not None else _ratio(job),
        duration=job.output.seconds,  # whole, or pydantic refuses it
        audio=("native" if job.output.audio else "off") if model.sound else None,
        multi_shot=wishes.multi_shot if _takes_multi_shot(model, settings) else None,
    )
    options = TaskOptions(external_task_id=job.tag, callback_url=job.callback_url)
    if model.omni or job.request.images:
        kind = "omni-video" if model.omni else "image-to-video"
        body = TaskOrder(contents=tuple(_contents(job)), settings=shape, options=options)
    else:
        kind = "text-to-video"
        body = TaskOrder(prompt=job.request.prompt, settings=shape, options=options)
    return Order(path=f"/{kind}/{job.offer.upstream}", tasks=TASKS, body=body)


def _takes_multi_shot(model: Model, settings: KlingSettings) -> bool:
    return model.multi_shot or (model.omni and settings.omni_multi_shot)


def _contents(job: Job) -> Iterator[Content]:
    yield Content(type="prompt", text=job.request.prompt)
    for image in job.request.images:
        kind = "refer_image" if image.role == "reference" else image.role
        yield Content(type=kind, url=_base64(job, image, _IMAGE_BYTES))


def _base64(job: Job, image: InputImage, most: int) -> str:
    data = job.read_image(image)
    if len(data) > most:
        raise Unsupported(f"{job.offer.upstream} takes images of {most:,} bytes at most, not {len(data):,}.")
    return base64.b64encode(data).decode()


def _resolution(job: Job) -> Resolution:
    found = _RESOLUTIONS.get(min(parse_size(job.output.size)))
    if found is None:
        raise Unsupported(f"Kling makes 720p, 1080p and 4k, not {job.output.size}.")
    return found


def _ratio(job: Job) -> Ratio:
    found = _RATIOS.get(Fraction(*parse_size(job.output.size)))
    if found is None:
        raise Unsupported(f"Kling makes 16:9, 9:16 and 1:1, not {job.output.size}.")
    return found
