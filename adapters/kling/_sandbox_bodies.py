"""What Kling's double takes, and what it costs there (spec A.3, A.4, A.9). Unknown fields are refused."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.kit.sandbox import Clip

Ratio = Literal["16:9", "9:16", "1:1"]
Resolution = Literal["720p", "1080p", "4k"]
Text = Annotated[str, Field(min_length=1)]

_SHORT_SIDE = {"720p": 720, "1080p": 1080, "4k": 2160}
_MODES: Mapping[str, Resolution] = {"std": "720p", "pro": "1080p", "4k": "4k"}
_RATIOS: Mapping[Ratio, float] = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
_OMNI_IMAGES = 7
_MEGABYTE = 1_000_000


class Refusal(Exception):
    """Kling's own answer that nothing was created: HTTP status, code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, kw_only=True)
class Order:
    """A body that was found right. ``usd`` is what the clip costs, once it is made."""

    model: str
    prompt: str
    clip: Clip
    usd: Decimal
    multi_shot: bool
    tag: str | None
    callback_url: str | None


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """A model. ``silent`` and ``loud``: US dollars a second; what has no price there cannot be had."""

    silent: Mapping[Resolution, str]
    loud: Mapping[Resolution, str] | None = None
    seconds: Sequence[int] = (5, 10)
    texts: bool = True
    prompt: int | None = 2500
    multi_shot: bool = False
    last_frame: Literal["never", "any", "1080p", "silent 1080p"] = "never"
    fps: int = 24


_LONG = range(3, 16)
_V3 = _Rules(
    silent={"720p": "0.084", "1080p": "0.112", "4k": "0.42"},
    loud={"720p": "0.126", "1080p": "0.168", "4k": "0.42"},
    seconds=_LONG,
)
_OLD: Mapping[Resolution, str] = {"720p": "0.056", "1080p": "0.098"}
_LOW: Mapping[Resolution, str] = {"720p": "0.042", "1080p": "0.07"}
_MASTER: Mapping[Resolution, str] = {"1080p": "0.28"}

_LEGACY: Mapping[str, _Rules] = {
    "kling-v1": _Rules(silent={"720p": "0.028", "1080p": "0.098"}, fps=30),
    "kling-v1-5": _Rules(silent=_OLD, texts=False, fps=30),
    "kling-v1-6": _Rules(silent=_OLD),
    "kling-v2-master": _Rules(silent=_MASTER),
    "kling-v2-1": _Rules(silent=_OLD, texts=False),
    "kling-v2-1-master": _Rules(silent=_MASTER),
    "kling-v2-5-turbo": _Rules(silent=_LOW),
    "kling-v2-6": _Rules(silent=_LOW, loud={"1080p": "0.14"}),
    "kling-v3": _V3,
}

_TASKS: Mapping[str, _Rules] = {
    "kling-3.0": _Rules(
        silent=_V3.silent, loud=_V3.loud, seconds=_LONG, prompt=3072, multi_shot=True, last_frame="any"
    ),
    "kling-3.0-turbo": _Rules(silent={}, loud={"720p": "0.112", "1080p": "0.14"}, seconds=_LONG, prompt=3072),
    "kling-2.6": _Rules(silent=_LOW, loud={"1080p": "0.14"}, last_frame="silent 1080p"),
    "kling-2.5-turbo": _Rules(silent=_LOW, last_frame="1080p"),
}

_OMNI: Mapping[str, _Rules] = {
    "kling-3.0-omni": _Rules(
        silent={"720p": "0.084", "1080p": "0.112", "4k": "0.42"},
        loud={"720p": "0.112", "1080p": "0.14", "4k": "0.42"},
        seconds=_LONG,
        prompt=None,
        last_frame="any",
    )
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Watermark(_Strict):
    enabled: bool


class _Legacy(_Strict):
    model_name: str = "kling-v1"
    model: str | None = None
    prompt: str = Field(default="", max_length=2500)
    negative_prompt: str | None = Field(default=None, max_length=2500)
    cfg_scale: float | None = Field(default=None, ge=0, le=1)
    mode: Literal["std", "pro", "4k"] = "std"
    sound: Literal["on", "off"] | None = None
    duration: str = Field(default="5", pattern=r"^\d{1,2}$")
    multi_shot: Literal[False] = False
    watermark_info: _Watermark | None = None
    callback_url: Text | None = None
    external_task_id: Text | None = None


class _LegacyText(_Legacy):
    prompt: str = Field(min_length=1, max_length=2500)
    aspect_ratio: Ratio = "16:9"


class _LegacyImage(_Legacy):
    image: Text | None = None
    image_tail: Text | None = None


class _Settings(_Strict):
    resolution: Resolution = "720p"
    aspect_ratio: Ratio | None = None
    duration: int = 5
    audio: Literal["native", "off"] | None = None
    multi_shot: bool | None = None


class _Options(_Strict):
    external_task_id: Text | None = None
    callback_url: Text | None = None
    watermark_info: _Watermark | None = None


class _Said(_Strict):
    type: Literal["prompt"]
    text: Text


class _Shown(_Strict):
    type: Literal["first_frame", "last_frame", "refer_image"]
    url: Text


class _TextTask(_Strict):
    prompt: Text
    settings: _Settings = _Settings()
    options: _Options = _Options()


class _ContentsTask(_Strict):
    contents: list[Annotated[_Said | _Shown, Field(discriminator="type")]] = Field(min_length=1)
    settings: _Settings = _Settings()
    options: _Options = _Options()


class _Filter(_Strict):
    key: Literal["status"]
    values: list[str]


class Listing(_Strict):
    """The body of ``POST /tasks``; times in ms."""

    start_time: int | None = None
    end_time: int | None = None
    cursor: str = Field(default="0", pattern=r"^\d{1,9}$")
    limit: int = Field(default=100, ge=1, le=500)
    filters: list[_Filter] = []


Body = TypeVar("Body", bound=BaseModel)


def read(shape: type[Body], raw: bytes) -> Body:
    """The body as ``shape``.

    Raises:
        Refusal: 400, 1201 with the first thing that is wrong.
    """
    try:
        return shape.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refusal(400, 1201, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None


def legacy_order(kind: str, raw: bytes) -> Order:
    """A body for ``/v1/videos/{kind}``.

    Raises:
        Refusal: as Kling refuses it.
    """
    body: _LegacyText | _LegacyImage = (
        read(_LegacyText, raw) if kind == "text2video" else read(_LegacyImage, raw)
    )
    rules = _rules(_LEGACY, body.model_name)
    if kind == "text2video" and not rules.texts:
        raise _wrong(f"model_name: {body.model_name} does not support text2video")
    if body.sound is not None and rules.loud is None:
        raise _wrong(f"sound: {body.model_name} does not support it")
    if body.cfg_scale is not None and body.model_name.startswith("kling-v2"):
        raise _wrong(f"cfg_scale: {body.model_name} does not support it")
    ratio = body.aspect_ratio if isinstance(body, _LegacyText) else _legacy_frames(body)
    clip = _clip(_MODES[body.mode], ratio, int(body.duration), body.sound == "on", rules)
    return Order(
        model=body.model_name,
        prompt=body.prompt,
        clip=clip,
        usd=_usd(rules, _MODES[body.mode], clip),
        multi_shot=body.multi_shot,
        tag=body.external_task_id,
        callback_url=body.callback_url,
    )


def _legacy_frames(body: _LegacyImage) -> Ratio:
    shapes = [
        _shape(text, 10 * _MEGABYTE, bare=True) for text in (body.image, body.image_tail) if text is not None
    ]
    if not shapes:
        raise _wrong("image: at least one of image and image_tail is required")
    return shapes[0]


def task_order(kind: str, model: str, raw: bytes) -> Order:
    """A body for ``/{kind}/{model}`` of the API of 2026.

    Raises:
        Refusal: as Kling refuses it.
    """
    rules = _rules(_OMNI if kind == "omni-video" else _TASKS, model)
    body: _TextTask | _ContentsTask = (
        read(_TextTask, raw) if kind == "text-to-video" else read(_ContentsTask, raw)
    )
    shape, options = body.settings, body.options
    if shape.audio is not None and (rules.loud is None or not rules.silent):
        raise _wrong(f"settings.audio: {model} has no such parameter")
    if shape.multi_shot is not None and not rules.multi_shot:
        raise _wrong(f"settings.multi_shot: {model} has no such parameter")
    loud = shape.audio == "native" or not rules.silent
    if isinstance(body, _ContentsTask):
        prompt, ratio = _contents(body, kind, rules, loud)
    else:
        prompt, ratio = body.prompt, shape.aspect_ratio or "16:9"
    if rules.prompt is not None and len(prompt) > rules.prompt:
        raise _wrong(f"prompt: at most {rules.prompt} characters")
    clip = _clip(shape.resolution, ratio, shape.duration, loud, rules)
    return Order(
        model=model,
        prompt=prompt,
        clip=clip,
        usd=_usd(rules, shape.resolution, clip),
        multi_shot=rules.multi_shot and shape.multi_shot is not False,
        tag=options.external_task_id,
        callback_url=options.callback_url,
    )


def _contents(body: _ContentsTask, kind: str, rules: _Rules, loud: bool) -> tuple[str, Ratio]:
    """The prompt, and the shape that the first frame or the settings give."""
    said = [part.text for part in body.contents if isinstance(part, _Said)]
    shown: dict[str, list[Ratio]] = {"first_frame": [], "last_frame": [], "refer_image": []}
    for part in body.contents:
        if isinstance(part, _Shown):
            shown[part.type].append(_shape(part.url, 50 * _MEGABYTE, bare=False))
    first, last, references = shown.values()
    if len(said) > 1 or len(first) > 1 or len(last) > 1:
        raise _wrong("contents: a type is repeated")
    if kind == "image-to-video":
        _check_image_task(body, bool(first), bool(references))
    elif not said:
        raise _wrong("contents: prompt is required")
    if len(first) + len(last) + len(references) > _OMNI_IMAGES:
        raise _wrong(f"contents: at most {_OMNI_IMAGES} images")
    if last:
        _check_last_frame(rules, bool(first), body.settings.resolution, loud)
    return "".join(said), first[0] if first else body.settings.aspect_ratio or "16:9"


def _check_image_task(body: _ContentsTask, first: bool, references: bool) -> None:
    if references:
        raise _wrong("contents: refer_image is for omni-video")
    if not first:
        raise _wrong("contents: first_frame is required")
    if body.settings.aspect_ratio is not None:
        raise _wrong("settings.aspect_ratio: is for text-to-video")


def _check_last_frame(rules: _Rules, first: bool, resolution: str, loud: bool) -> None:
    if not first:
        raise _wrong("contents: last_frame without first_frame")
    if rules.last_frame == "never":
        raise _wrong("contents: last_frame is not supported")
    if rules.last_frame != "any" and resolution != "1080p":
        raise _wrong("contents: last_frame is for 1080p only")
    if rules.last_frame == "silent 1080p" and loud:
        raise _wrong("contents: last_frame does not go with audio")


def _rules(table: Mapping[str, _Rules], model: str) -> _Rules:
    if model not in table:
        raise Refusal(404, 1203, f"model {model} does not exist")
    return table[model]


def _clip(resolution: Resolution, ratio: Ratio, seconds: int, loud: bool, rules: _Rules) -> Clip:
    if seconds not in rules.seconds:
        raise _wrong(f"duration: {seconds} is not supported")
    short = _SHORT_SIDE[resolution]
    long = short * 16 // 9
    width, height = {"16:9": (long, short), "9:16": (short, long), "1:1": (short, short)}[ratio]
    return Clip(width=width, height=height, seconds=Decimal(seconds), fps=rules.fps, audio=loud)


def _usd(rules: _Rules, resolution: Resolution, clip: Clip) -> Decimal:
    rate = ((rules.loud or {}) if clip.audio else rules.silent).get(resolution)
    if rate is None:
        raise _wrong(f"{resolution} {'with' if clip.audio else 'without'} sound is not supported")
    return Decimal(rate) * clip.seconds


def _shape(given: str, most: int, *, bare: bool) -> Ratio:
    """The listed shape nearest to a picture's; a picture behind a URL is not fetched, and taken as 16:9."""
    if given.startswith(("http://", "https://")):
        return "16:9"
    if bare and given.startswith("data:"):
        raise _wrong("image: base64 without a data: prefix is required")
    try:
        data = base64.b64decode(given, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            width, height = picture.size
    except (ValueError, UnidentifiedImageError):
        raise _wrong("image: neither a URL nor the base64 of a JPEG or PNG") from None
    if len(data) > most:
        raise _wrong(f"image: more than {most // _MEGABYTE} MB")
    if min(width, height) < 300 or max(width, height) > 2.5 * min(width, height):
        raise _wrong("image: each side has at least 300 px, and the ratio is 1:2.5 to 2.5:1")
    return min(_RATIOS, key=lambda ratio: abs(math.log(width / height / _RATIOS[ratio])))


def _wrong(message: str) -> Refusal:
    return Refusal(400, 1201, message)
