"""What the fake Ark makes of a create: strictly what the documentation says, or the API's own error."""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.seedance._sandbox_models import Model
from gateway.kit.sandbox import FakeJob

_MOST_BYTES = 30_000_000
_LONGEST_BODY = 64_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_RATIOS = {"16:9": 16 / 9, "4:3": 4 / 3, "1:1": 1.0, "3:4": 3 / 4, "9:16": 9 / 16, "21:9": 21 / 9}
_FLAG = re.compile(r"--(\w+) +(\S+)")
_TAKEN_OVER = ("ratio", "duration", "seed", "camera_fixed", "generate_audio", "draft")


class No(Exception):
    """The API's own refusal."""

    def __init__(self, status: int, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param


def bad(param: str, message: str, code: str = "InvalidParameter") -> No:
    """A parameter is not valid."""
    return No(400, code, f"The parameter `{param}` specified in the request is not valid: {message}.", param)


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Url(_Strict):
    url: str


class TextItem(_Strict):
    """The prompt."""

    type: Literal["text"]
    text: str = Field(min_length=1)


class ImageItem(_Strict):
    """A picture and its part."""

    type: Literal["image_url"]
    image_url: _Url
    role: Literal["first_frame", "last_frame", "reference_image"] | None = None


class _TaskId(_Strict):
    id: str


class DraftItem(_Strict):
    """A draft to be finished."""

    type: Literal["draft_task"]
    draft_task: _TaskId


class Create(_Strict):
    """The body of a create."""

    model: str
    content: list[Annotated[TextItem | ImageItem | DraftItem, Field(discriminator="type")]] = Field(
        min_length=1
    )
    resolution: Literal["480p", "720p", "1080p", "4k"] | None = None
    ratio: Literal["16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive"] | None = None
    duration: int | None = None
    seed: int = Field(default=-1, ge=-1, le=2**32 - 1)
    camera_fixed: bool | None = None
    watermark: bool = False
    generate_audio: bool | None = None
    draft: bool = False
    service_tier: Literal["default", "flex"] = "default"
    execution_expires_after: int = Field(default=172_800, ge=3600, le=259_200)
    return_last_frame: bool = False
    callback_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    safety_identifier: str | None = Field(default=None, max_length=64)

    def texts(self) -> str:
        """The prompt."""
        return " ".join(item.text for item in self.content if isinstance(item, TextItem))

    def images(self) -> list[ImageItem]:
        """The pictures, in order."""
        return [item for item in self.content if isinstance(item, ImageItem)]

    def drafts(self) -> list[DraftItem]:
        """The draft to be finished; more than one is refused later."""
        return [item for item in self.content if isinstance(item, DraftItem)]


def read_body(body: bytes) -> Create:
    """The body, field by field as documented.

    Raises:
        No: the first fault that is found.
    """
    if len(body) > _LONGEST_BODY:
        raise bad("content", "the whole request has more than 64 MB")
    try:
        return Create.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            message = f"The request failed because it is missing the `{param}` parameter."
            raise No(400, "MissingParameter", message, param) from None
        raise bad(param, first["msg"]) from None


def check_tier(order: Create, model: Model) -> None:
    """Refuse a tier or a draft that this model has not."""
    if order.service_tier == "flex" and not model.old:
        raise bad("service_tier", "flex is not supported by this model")
    if order.draft and not model.drafts:
        raise bad("draft", "not supported by this model")
    if order.draft and order.service_tier == "flex":
        raise bad("service_tier", "a draft has no flex tier")
    if order.draft and order.return_last_frame:
        raise bad("return_last_frame", "a draft returns no last frame")
    if order.draft and order.resolution not in (None, "480p"):
        raise bad("resolution", "a draft is 480p")


def whole(order: Create, model: Model) -> dict[str, Any]:
    """What is made of text and images: its size, and what else the task tells of it."""
    mode = _mode(order, model)
    flags = dict(_FLAG.findall(order.texts())) if model.old else {}
    resolution, ratio = _shape(order, model, mode, flags)
    size = model.size(resolution, ratio)
    if size is None:
        raise bad("ratio", f"{ratio} is not supported at {resolution}")
    if order.generate_audio is not None and not model.sound:
        raise bad("generate_audio", "not supported by this model")
    if order.camera_fixed is not None and (not model.old or mode == "references"):
        raise bad("camera_fixed", "not supported here")
    told = {"generate_audio": order.generate_audio is not False, "draft": order.draft} if model.sound else {}
    return {
        "size": size,
        "resolution": resolution,
        "ratio": ratio,
        "duration": _seconds(order, model, flags),
        "seed": order.seed if order.seed >= 0 else secrets.randbelow(2**32),
        **told,
    }


def _mode(order: Create, model: Model) -> str:
    """Which of the three ways to take images this is, each image checked; ``text`` without any."""
    images = order.images()
    roles = sorted(image.role or ("first_frame" if len(images) == 1 else "") for image in images)
    if set(roles) == {"reference_image"}:
        mode = "references" if len(roles) <= model.references else f"{len(roles)} references"
    else:
        mode = " ".join(roles) or "text"
    if mode not in model.takes:
        raise bad("content", f"this model does not take {mode}")
    if mode == "text" and not order.texts():
        raise No(400, "MissingParameter", "The request is missing a text.", "content")
    for image in images:
        _image_ratio(image)
    return mode


def _shape(order: Create, model: Model, mode: str, flags: Mapping[str, str]) -> tuple[str, str]:
    """Resolution and ratio. A flag that is no such word is ignored, a field that is none is refused."""
    asked = order.resolution or ("480p" if order.draft else model.usual)
    if asked not in model.resolutions:
        raise bad("resolution", f"{asked} is not supported by this model")
    if mode == "references" and model.old and asked == "1080p":
        raise bad("resolution", "1080p is not supported with references")
    framed = mode.startswith("first_frame")
    if model.frame_sets_ratio and framed and order.ratio not in (None, "adaptive"):
        raise bad("ratio", "with a first frame it is adaptive", "InvalidParameter.TaskTypeConstraint")
    flagged = flags.get("resolution", flags.get("rs", ""))
    resolution = flagged if flagged in model.resolutions and not order.draft else asked
    flagged = flags.get("ratio", flags.get("rt", ""))
    ratio = flagged if flagged in _RATIOS else order.ratio or ("adaptive" if framed else "16:9")
    if ratio != "adaptive":
        return resolution, ratio
    wanted = _image_ratio(order.images()[0]) if framed else 16 / 9
    return resolution, min(_RATIOS, key=lambda name: abs(math.log(_RATIOS[name] / wanted)))


def _seconds(order: Create, model: Model, flags: Mapping[str, str]) -> int:
    shortest, longest = model.seconds
    flagged = flags.get("duration", flags.get("dur", ""))
    if flagged.isdecimal() and shortest <= int(flagged) <= longest:
        return int(flagged)
    asked = 5 if order.duration is None else order.duration
    if asked == -1 and (not model.old or model.sound):  # the model chooses: this one likes five
        return 5
    if not shortest <= asked <= longest:
        raise bad("duration", f"{shortest} to {longest} are supported by this model")
    return asked


def _image_ratio(image: ImageItem) -> float:
    """Width by height of a picture that came along; one at an address is taken as it is."""
    from PIL import Image, UnidentifiedImageError

    url = image.image_url.url
    if url.startswith(("https://", "asset://")):
        return 16 / 9
    head, _, text = url.partition(";base64,")
    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            width, height = opened.size
            kind = opened.get_format_mimetype()
    except (binascii.Error, UnidentifiedImageError):
        raise bad("image_url", "it is neither an address nor an image") from None
    if head != f"data:{kind}":
        raise bad("image_url", f"it says {head} and is {kind}")
    if len(data) >= _MOST_BYTES or not 300 < min(width, height) <= max(width, height) < 6000:
        raise bad("image_url", "its sides or its bytes are out of bounds")
    if not 0.4 < width / height < 2.5:
        raise bad("image_url", "its ratio is out of bounds")
    return width / height


def finishing(order: Create, model: Model, draft: FakeJob | None) -> dict[str, Any]:
    """What is made of a draft that succeeded: as that was, but for its size."""
    given = next((name for name in _TAKEN_OVER if name in order.model_fields_set), None)
    if given is not None:
        raise bad(given, "it is taken over from the draft")
    if len(order.content) > 1:
        raise bad("content", "a draft stands alone")
    if draft is None or not draft.data.get("draft") or draft.data["model"] != order.model:
        raise bad("content.draft_task.id", "there is no such draft of this model that succeeded")
    resolution = order.resolution or model.usual
    if resolution not in model.resolutions:
        raise bad("resolution", f"{resolution} is not supported by this model")
    kept = {name: draft.data[name] for name in ("ratio", "duration", "seed", "generate_audio")}
    size = model.size(resolution, draft.data["ratio"])
    return {**kept, "size": size, "resolution": resolution, "draft": False, "draft_task_id": draft.id}
