"""A job in the provider's words: which body an offer's model takes, and what goes into it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from adapters.dashscope_wan._wire import (
    SHAPES,
    Input,
    Media,
    Order,
    Parameters,
    ShotType,
)
from gateway.kit.options import read_options
from gateway.spec import BadRequest, ImageRole, InputImage, Job, Preset, Unsupported, Value

Body = Literal["size", "image", "frames", "ratio", "media"]
Knob = Literal["negative_prompt", "prompt_extend", "shot_type", "audio"]


class PresetParams(Value):
    """A preset's ``params`` on a card: how its model is spoken to.

    ``body``: ``size`` (text, pixels) · ``image`` (``img_url``) · ``frames`` (first and last frame, on a path
    of their own) · ``ratio`` (text, resolution and ratio) · ``media`` (pictures in a list). ``knobs``: the
    fields that this model takes besides.
    """

    body: Body
    knobs: tuple[Knob, ...] = ()


class StudioOptions(Value):
    """A caller's ``options.dashscope_wan``."""

    prompt_extend: bool = False
    shot_type: ShotType | None = None
    watermark: bool = False


def read_params(preset: Preset) -> PresetParams | None:
    """How a preset's model is spoken to; None where its card does not say, or says what is unknown."""
    try:
        return PresetParams.model_validate(preset.params)
    except ValidationError:
        return None


def order_of(job: Job, params: PresetParams) -> Order:
    """The body of the create for this job.

    Raises:
        BadRequest: an option is unknown, or not for this model.
        Unsupported: the images, or a field's value, are not what the model takes.
    """
    options = _options(job, params)
    try:
        return Order(
            model=job.offer.upstream,
            input=_input(job, params),
            parameters=_parameters(job, params, options),
        )
    except ValidationError as error:
        wrong = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors(include_input=False))
        raise Unsupported(f"{job.offer.upstream} does not take this. {wrong}.") from None


def pixels(job: Job, params: PresetParams) -> str | None:
    """The size that the order names, ``W*H``; None where it names none."""
    return job.output.size.replace("x", "*") if params.body == "size" else None


def _options(job: Job, params: PresetParams) -> StudioOptions:
    options = read_options(job, StudioOptions)
    given = {"prompt_extend": options.prompt_extend, "shot_type": options.shot_type is not None}
    for name, wanted in given.items():
        if wanted and name not in params.knobs:
            raise BadRequest(f"options.{job.offer.adapter}.{name}: {job.offer.upstream} has no such field.")
    if options.shot_type is not None and not options.prompt_extend:
        raise BadRequest(f"options.{job.offer.adapter}.shot_type: has an effect with prompt_extend only.")
    return options


def _parameters(job: Job, params: PresetParams, options: StudioOptions) -> Parameters:
    shape = SHAPES.get(job.output.size)
    if shape is None:
        raise Unsupported(f"{job.offer.upstream} makes {', '.join(SHAPES)}, not {job.output.size}.")
    tier, ratio = shape
    framed = job.request.image("first_frame") is not None  # the clip then has the frame's shape
    return Parameters(
        size=pixels(job, params),
        resolution=None if params.body == "size" else tier,
        ratio=ratio if params.body in ("ratio", "media") and not framed else None,
        duration=job.output.seconds,
        prompt_extend=options.prompt_extend if "prompt_extend" in params.knobs else None,
        shot_type=options.shot_type,
        audio=job.output.audio if "audio" in params.knobs else None,
        watermark=options.watermark,
        seed=job.request.seed,
    )


def _input(job: Job, params: PresetParams) -> Input:
    negative_prompt = job.request.negative_prompt if "negative_prompt" in params.knobs else None
    return Input(prompt=job.request.prompt, negative_prompt=negative_prompt, **_PICTURES[params.body](job))


# --- pictures -------------------------------------------------------------------------------------


def _none(job: Job) -> dict[str, Any]:
    if job.request.images:
        raise Unsupported(f"{job.offer.upstream} takes no image.")
    return {}


def _image(job: Job) -> dict[str, Any]:
    if len(job.request.images) > 1:
        raise Unsupported(f"{job.offer.upstream} takes a first frame, and no other image.")
    return {"img_url": _needed(job, "first_frame")}


def _frames(job: Job) -> dict[str, Any]:
    return {
        "first_frame_url": _needed(job, "first_frame"),
        "last_frame_url": _needed(job, "last_frame"),
    }


def _media(job: Job) -> dict[str, Any]:
    roles = {image.role for image in job.request.images}
    if "reference" in roles and len(roles) > 1:
        raise Unsupported(f"{job.offer.upstream} takes frames or reference images, not both.")
    if not roles & {"reference", "first_frame"}:
        raise Unsupported(f"{job.offer.upstream} needs a first frame.")
    media = [Media(type=_MEDIA_TYPES[image.role], url=_data_url(job, image)) for image in job.request.images]
    return {"media": media}


_PICTURES: Mapping[Body, Callable[[Job], dict[str, Any]]] = MappingProxyType(
    {"size": _none, "ratio": _none, "image": _image, "frames": _frames, "media": _media}
)
_MEDIA_TYPES: Mapping[ImageRole, Literal["first_frame", "last_frame", "reference_image"]] = MappingProxyType(
    {"first_frame": "first_frame", "last_frame": "last_frame", "reference": "reference_image"}
)


def _needed(job: Job, role: ImageRole) -> str:
    image = job.request.image(role)
    if image is None:
        raise Unsupported(f"{job.offer.upstream} needs an image as {role}.")
    return _data_url(job, image)


def _data_url(job: Job, image: InputImage) -> str:
    data = job.read_image(image)
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
