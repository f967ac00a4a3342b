"""What a create, a plan, a remix and a continuation may say: strict, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gateway.api.errors import ApiError, invalid
from gateway.api.forms import Form
from gateway.api.invalid import IMAGE_FIELDS, OUR_OWN, allowed_range, problem_of
from gateway.spec import ImageRole, VideoRequest

Model = TypeVar("Model", bound=BaseModel)
_DECIMAL = re.compile(r"-?\d{1,12}(\.\d{1,12})?")
_MAX_OPTIONS_CHARACTERS = 64 * 1024
_LATER = {
    "tags": "leave it out and keep the video's id with your own tags",
    "loras": "leave it out, or name a model that has the style",
    "webhook_url": "leave it out, and follow GET /v1/videos/{id}/events",
}
MAX_IMAGES = 16
CONTINUE_FIELDS = ("priority", "max_cost", "deadline")
"""What a continuation may say anew; the rest is as it was for the preview."""


FINALIZE_FIELDS = (
    "model",
    "audio",
    "quality",
    "tier",
    "size",
    "resolution",
    "aspect_ratio",
    "seconds",
    "fps",
    "negative_prompt",
    "options",
    "priority",
    "max_cost",
    "deadline",
)
"""What a final may have otherwise than its preview; the prompt and the images are what was approved."""


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ImageRef(_Wire):
    """An image by URL; ``file_id`` is known only to be refused in words."""

    image_url: str | None = None
    file_id: str | None = None


class RoledImage(ImageRef):
    """One entry of ``images``."""

    role: ImageRole


def _as_reference(value: Any) -> Any:
    return {"image_url": value} if isinstance(value, str) else value


Reference = Annotated[ImageRef, BeforeValidator(_as_reference)]


class ImageFields(_Wire):
    """The fields that carry images; a bare text is an ``image_url``."""

    input_reference: Reference | None = None
    last_frame: Reference | None = None
    images: list[RoledImage] = []


@dataclass(frozen=True, kw_only=True)
class SentImage:
    """An image as it came: a file, or a URL still to be decoded or fetched. ``param`` is the field's name."""

    role: ImageRole
    param: str
    source: bytes | str

    @property
    def address(self) -> str | None:
        """The http(s) address that it is to be fetched from, or None if it was sent whole."""
        match self.source:
            case str(url) if url[:8].lower().startswith(("http://", "https://")):
                return url
            case _:
                return None

    @property
    def sent(self) -> bytes:
        """What was sent, as bytes."""
        return self.source.encode() if isinstance(self.source, str) else self.source


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request whose fields are sound; its images are still to be looked at."""

    request: VideoRequest
    images: tuple[SentImage, ...]


def read_create(form: Form) -> Sent:
    """The body of a create or a plan.

    Raises:
        ApiError: 400, with the field in ``param``.
    """
    fields = dict(form.fields)
    _refuse_later(fields)
    pictures = {name: fields.pop(name) for name in IMAGE_FIELDS if name in fields}
    request = _request(fields)
    return Sent(request=request, images=_sent_images(_validate(ImageFields, pictures), form.files))


def read_remix(form: Form, source: VideoRequest) -> VideoRequest:
    """The body of a remix: ``source`` with the new prompt. What went on from a preview cannot do so again.

    Raises:
        ApiError: 400, with the field in ``param``.
    """
    _only(form, ("prompt",), "a remix")
    fresh = _request(form.fields)
    preset = source.preset if source.continues is None else None
    return source.model_copy(update={"prompt": fresh.prompt, "preset": preset, "continues": None})


def read_continue(form: Form, source: VideoRequest) -> VideoRequest:
    """The body of a continuation: ``source`` with what of :data:`CONTINUE_FIELDS` is given.

    Raises:
        ApiError: 400, with the field in ``param``.
    """
    _only(form, CONTINUE_FIELDS, "a continuation")
    fresh = _request({"prompt": source.prompt, **form.fields})
    return source.model_copy(update={name: getattr(fresh, name) for name in form.fields})


def read_finalize(form: Form) -> tuple[dict[str, Any], bool]:
    """The body of a finalize: what of :data:`FINALIZE_FIELDS` the final is to have otherwise than its
    preview, and whether it is only to be planned.

    Raises:
        ApiError: 400, with the field in ``param``.
    """
    _only(form, ("dry_run", *FINALIZE_FIELDS), "a finalize")
    fields = dict(form.fields)
    dry_run = fields.pop("dry_run", False)
    if not isinstance(dry_run, bool):
        raise invalid("dry_run", "'dry_run' is not valid: send true or false.", "invalid_type")
    fresh = _request({"prompt": "as approved", **fields})
    return {name: getattr(fresh, name) for name in fields}, dry_run


def _only(form: Form, names: Collection[str], what: str) -> None:
    """Refuse every other field."""
    for name in (*form.fields.keys() - set(names), *form.files):
        can = ", ".join(f"'{one}'" for one in names)
        message = f"'{name}' cannot be changed in {what}, only {can}: create a new video instead."
        raise invalid(name, message, "unknown_parameter")


def _refuse_later(fields: dict[str, Any]) -> None:
    """Refuse in words what the contract names and this version does not do."""
    for name, advice in _LATER.items():
        if name in fields:
            raise invalid(name, f"'{name}' is not supported yet: {advice}.", "not_supported_yet")
    count = fields.pop("n", 1)
    if isinstance(count, bool) or count != 1:
        message = "'n' other than 1 is not supported yet: send one request per video."
        raise invalid("n", message, "not_supported_yet")


def _request(fields: Mapping[str, Any]) -> VideoRequest:
    values = dict(fields)
    if OUR_OWN in values:
        message = (
            f"Unknown parameter '{OUR_OWN}': POST /v1/videos/{{video_id}}/continue goes on from a preview."
        )
        raise invalid(OUR_OWN, message, "unknown_parameter")
    for name in ("seconds", "max_cost"):
        if name in values:
            values[name] = _decimal(name, values[name])
    audio = values.get("audio")
    if not (audio is None or isinstance(audio, bool) or audio == "required"):
        raise invalid("audio", "'audio' is not valid: send true, false or \"required\".")
    if len(json.dumps(values.get("options", {}))) > _MAX_OPTIONS_CHARACTERS:
        raise invalid("options", "'options' is larger than 64 KiB: send less.")
    return _validate(VideoRequest, values)


def _decimal(name: str, value: Any) -> Decimal:
    """A number, or a decimal in text, as the same Decimal however it was written."""
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        message = f"'{name}' is not valid: {allowed_range(name)}, for example \"4\" or 4.5."
        raise invalid(name, message, "invalid_type")
    return Decimal(format(Decimal(text).normalize(), "f"))


def _sent_images(fields: ImageFields, files: Mapping[str, bytes]) -> tuple[SentImage, ...]:
    single: dict[str, ImageRole] = {"input_reference": "first_frame", "last_frame": "last_frame"}
    sent = [SentImage(role=single[name], param=name, source=data) for name, data in files.items()]
    for name, role in single.items():
        reference = getattr(fields, name)
        if reference is not None:
            sent.append(SentImage(role=role, param=name, source=_url_of(name, reference)))
    for index, image in enumerate(fields.images):
        param = f"images[{index}]"
        sent.append(SentImage(role=image.role, param=param, source=_url_of(param, image)))
    if len(sent) > MAX_IMAGES:
        raise invalid("images", f"'images' holds more than {MAX_IMAGES}: send fewer.")
    for role, short in (("first_frame", "input_reference"), ("last_frame", "last_frame")):
        if sum(image.role == role for image in sent) > 1:
            message = f"There is more than one {role}: send it once, as '{short}' or in 'images', not both."
            raise invalid(short, message)
    return tuple(sent)


def _url_of(param: str, image: ImageRef) -> str:
    if image.file_id is not None:
        message = f"'{param}': files by id are not kept here: send the image itself, as a file, or its URL."
        raise invalid(param, message, "file_id_not_supported")
    if image.image_url is None:
        raise invalid(param, f"'{param}' holds no image: send it as a file or as image_url.")
    return image.image_url


def _validate(model: type[Model], values: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(values, strict=True)
    except ValidationError as error:
        problem = problem_of(error.errors(include_url=False, include_context=False)[0])
        raise ApiError(400, problem.code, problem.message, param=problem.param) from None
