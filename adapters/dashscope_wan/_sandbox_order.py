"""What Model Studio's double knows of each model, and how strictly it reads a create."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Any, Literal

from gateway.kit.sandbox import Clip

TIERS = ("480P", "720P", "1080P")
V22, V25, V26, V27, V30 = (Decimal(v) for v in ("2.2", "2.5", "2.6", "2.7", "3.0"))

_LARGEST_IMAGE = 10 * 1024 * 1024
_LARGEST_SEED = 2**31 - 1
_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")

_SIZES: Mapping[str, tuple[str, ...]] = {
    "480P": ("832*480", "480*832", "624*624"),
    "720P": ("1280*720", "720*1280", "960*960", "1088*832", "832*1088"),
    "1080P": ("1920*1080", "1080*1920", "1440*1440", "1632*1248", "1248*1632"),
}

Kind = Literal["t2v", "i2v", "kf2v", "t2v_ratio", "i2v_media", "any_media"]


@dataclass(frozen=True)
class _Model:
    """What the documentation says of one model; ``generation`` 2.2 to 3.0 decides the form of ``usage``."""

    kind: Kind
    generation: Decimal
    tiers: tuple[str, ...]
    seconds: tuple[int, ...]
    prompt: int
    tier: str = "1080P"
    sound: bool = False
    regions: tuple[str, ...] = ("singapore", "beijing")


_HIGH = ("720P", "1080P")
_UP_TO_15 = tuple(range(2, 16))

_MODELS: Mapping[str, _Model] = {
    "wan2.2-t2v-plus": _Model("t2v", V22, ("480P", "1080P"), (5,), 800),
    "wan2.2-i2v-plus": _Model("i2v", V22, ("480P", "1080P"), (5,), 800),
    "wan2.2-i2v-flash": _Model("i2v", V22, TIERS, (5,), 800, tier="720P", regions=("beijing",)),
    "wan2.2-kf2v-flash": _Model("kf2v", V22, TIERS, (5,), 800, tier="720P", regions=("beijing",)),
    "wan2.5-t2v-preview": _Model("t2v", V25, TIERS, (5, 10), 1500, sound=True),
    "wan2.5-i2v-preview": _Model("i2v", V25, TIERS, (5, 10), 1500, sound=True),
    "wan2.6-t2v": _Model("t2v", V26, _HIGH, _UP_TO_15, 1500, sound=True),
    "wan2.6-i2v": _Model("i2v", V26, _HIGH, _UP_TO_15, 1500, sound=True),
    "wan2.7-t2v": _Model("t2v_ratio", V27, _HIGH, _UP_TO_15, 5000, sound=True),
    "wan2.7-i2v": _Model("i2v_media", V27, _HIGH, _UP_TO_15, 5000, sound=True),
    "wan3.0-video": _Model("any_media", V30, TIERS, (-1, *range(2, 31)), 20_000, sound=True),
    "wan3.0-video-prime": _Model("any_media", V30, TIERS, (-1, *range(2, 31)), 20_000, sound=True),
}

_SMART_S = 5
"""What ``duration: -1`` comes to."""


class Refused(Exception):
    """The provider's no."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def bad(message: str) -> Refused:
    """The usual no."""
    return Refused(400, "InvalidParameter", message)


def generation_of(model: str) -> Decimal:
    """2.2 to 3.0."""
    return _MODELS[model].generation


@dataclass(frozen=True)
class Order:
    """A body that was found right."""

    model: str
    tier: str
    prompt: str
    clip: Clip
    size: str
    ratio: str | None
    actual_prompt: str | None

    @classmethod
    def read(cls, raw: bytes, *, region: str, service: str) -> Order:
        """Check a body as strictly as the documentation allows.

        Raises:
            Refused: the first thing that is wrong.
        """
        body = _json_object(raw)
        _only(body, {"model", "input", "parameters"}, "body")
        name, given = body.get("model"), body.get("input")
        if not isinstance(name, str) or not name:
            raise Refused(400, "BadRequest.EmptyModel", "Required parameter model is missing.")
        if not isinstance(given, dict) or not given:
            raise Refused(400, "BadRequest.EmptyInput", "Required parameter input is missing.")
        parameters = body.get("parameters", {})
        if not isinstance(parameters, dict):
            raise Refused(400, "BadRequest.EmptyParameters", "parameters has to be an object.")
        model = _MODELS.get(name)
        if model is None or region not in model.regions:
            raise Refused(404, "ModelNotFound", f"The model {name} can not be found.")
        if service != ("image2video" if model.kind == "kf2v" else "video-generation"):
            raise bad("url error, please check url!")
        return cls._checked(name, model, given, parameters)

    @classmethod
    def _checked(
        cls, name: str, model: _Model, given: Mapping[str, Any], parameters: Mapping[str, Any]
    ) -> Order:
        prompt = _check_text(given, model)
        shape = _check_pictures(given, model)
        _only(parameters, _parameter_names(model), "parameters")
        tier, size, ratio = _check_shape(parameters, model, shape)
        seconds = _whole(parameters, "duration", 5)
        if seconds not in model.seconds:
            raise bad(f"duration must be one of {', '.join(map(str, model.seconds))}")
        if not 0 <= _whole(parameters, "seed", 0) <= _LARGEST_SEED:
            raise bad(f"seed must be between 0 and {_LARGEST_SEED}")
        sound = _flag(parameters, "audio", model.sound)
        rewritten = _flag(parameters, "prompt_extend", model.generation < V30)
        _flag(parameters, "watermark", False)
        if parameters.get("shot_type", "single") not in ("single", "multi"):
            raise bad("shot_type must be single or multi")
        width, height = map(int, size.split("*"))
        return cls(
            model=name,
            tier=tier,
            prompt=prompt,
            clip=Clip(
                width=width,
                height=height,
                seconds=Decimal(_SMART_S if seconds == -1 else seconds),
                fps=24 if model.generation == V25 else 30,
                audio=sound,
            ),
            size=size,
            ratio=ratio,
            actual_prompt=f"{prompt}, in fine detail" if rewritten and model.generation <= V25 else None,
        )

    def record(self) -> dict[str, Any]:
        """What a look has to tell later."""
        return {
            "model": self.model,
            "tier": self.tier,
            "prompt": self.prompt,
            "size": self.size,
            "ratio": self.ratio,
            "actual_prompt": self.actual_prompt,
        }


def _json_object(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise bad("the body has to be a JSON object")
    return body


def _only(given: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = set(given) - known
    if unknown:
        raise bad(f"{where}: this model has no {', '.join(sorted(unknown))}")


def _check_text(given: Mapping[str, Any], model: _Model) -> str:
    names = {
        "t2v": {"audio_url"} if model.sound else set(),
        "i2v": {"img_url", "template"} | ({"audio_url"} if model.sound else set()),
        "kf2v": {"first_frame_url", "last_frame_url", "template"},
        "t2v_ratio": {"audio_url"},
        "i2v_media": {"media"},
        "any_media": {"media"},
    }[model.kind]
    if model.generation < V30:
        names = names | {"negative_prompt"}
    _only(given, names | {"prompt"}, "input")
    for name in sorted(names - {"media"}):
        if not isinstance(given.get(name, ""), str):
            raise bad(f"{name} has to be a string")
    if len(given.get("negative_prompt", "")) > 500:
        raise bad("negative_prompt must have at most 500 characters")
    prompt, pictured = given.get("prompt", ""), model.kind in ("i2v", "kf2v") or bool(given.get("media"))
    if not isinstance(prompt, str) or not (prompt or pictured):
        raise bad("prompt is required, and has to be a string")
    return prompt[: model.prompt]  # what is over is cut, not refused


def _check_pictures(given: Mapping[str, Any], model: _Model) -> float | None:
    """The width of the first frame by its height; None without one, or one that is only a URL."""
    match model.kind:
        case "i2v":
            return _picture(given.get("img_url"), "img_url")
        case "kf2v":
            _picture(given.get("last_frame_url"), "last_frame_url")
            return _picture(given.get("first_frame_url"), "first_frame_url")
        case "i2v_media":
            media = _media(given, {**_FRAMES, "driving_audio": 1, "first_clip": 1})
            if not {"first_frame", "first_clip"} & set(_types(media)):
                raise bad("media: first_frame or first_clip is required")
        case "any_media":
            media = _media(given, {**_FRAMES, **_REFERENCES})
            if _FRAMES.keys() & set(_types(media)) and _REFERENCES.keys() & set(_types(media)):
                raise bad("media: references, file and link do not go with first_frame and last_frame")
            if {"file", "link"} <= set(_types(media)):
                raise bad("media: file or link, not both")
        case _:
            return None
    images = [one for one in media if one["type"] in ("first_frame", "last_frame", "reference_image")]
    shapes = {one["type"]: _picture(one["url"], one["type"], bounded=False) for one in images}
    return shapes.get("first_frame")


_FRAMES: Mapping[str, int] = {"first_frame": 1, "last_frame": 1}
_REFERENCES: Mapping[str, int] = {
    "reference_image": 10,
    "reference_video": 5,
    "reference_audio": 5,
    "file": 1,
    "link": 1,
}


def _media(given: Mapping[str, Any], most: Mapping[str, int]) -> list[dict[str, Any]]:
    media = given.get("media", [])
    if not isinstance(media, list) or not all(isinstance(one, dict) for one in media):
        raise bad("media has to be a list of objects")
    for one in media:
        _only(one, {"type", "url", "reference_voice"}, "media")
        if one.get("type") not in [*most]:
            raise bad(f"media: type must be one of {', '.join(most)}")
        if not isinstance(one.get("url"), str) or not one["url"]:
            raise bad("media: url is required")
    for name, allowed in most.items():
        if _types(media).count(name) > allowed:
            raise bad(f"media: at most {allowed} {name}")
    return media


def _types(media: list[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in media]


def _picture(url: Any, name: str, *, bounded: bool = True) -> float | None:
    if not isinstance(url, str) or not url:
        raise bad(f"{name} is required")
    if url.startswith(("https://", "http://", "oss://")):
        return None
    head, _, encoded = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        raise Refused(400, "InvalidURL", f"{name}: url error, please check url!")
    from PIL import Image, UnidentifiedImageError  # test mode's adapters are listed without a picture

    try:
        data = base64.b64decode(encoded, validate=True)
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "BMP", "WEBP")) as opened:
            width, height = opened.size
            kind = (opened.format or "").lower()
    except (binascii.Error, UnidentifiedImageError):
        raise Refused(415, "UnsupportedFileFormat", f"{name} is no jpg, png, bmp or webp.") from None
    if head != f"data:image/{kind};base64":
        raise Refused(415, "UnsupportedFileFormat", f"{name} is not what its media type says.")
    if bounded and len(data) > _LARGEST_IMAGE:
        raise Refused(413, "BadRequest.TooLarge", f"{name} is larger than 10 MB.")
    if bounded and not all(360 <= side <= 2000 for side in (width, height)):
        raise bad(f"{name}: width and height must be 360 to 2000 px")
    return width / height


def _parameter_names(model: _Model) -> set[str]:
    names = {"duration", "watermark", "seed"}
    names |= {"size"} if model.kind == "t2v" else {"resolution"}
    if model.kind in ("t2v_ratio", "any_media"):
        names |= {"ratio"}
    if model.generation < V30:
        names |= {"prompt_extend"}
    if model.generation == V26:
        names |= {"shot_type"}
    if model.generation in (V25, V26, V30):
        names |= {"audio"}
    return names


def _check_shape(
    parameters: Mapping[str, Any], model: _Model, shape: float | None
) -> tuple[str, str, str | None]:
    """Tier, ``W*H`` and the ratio that was asked for."""
    if model.kind == "t2v":
        size = parameters.get("size", "1920*1080")
        for tier in model.tiers:
            if size in _SIZES[tier]:
                return tier, size, None
        raise bad(f"size must be one of {', '.join(s for tier in model.tiers for s in _SIZES[tier])}")
    tier = parameters.get("resolution", model.tier)
    if tier not in model.tiers:
        raise bad(f"resolution must be one of {', '.join(model.tiers)}")
    ratio = parameters.get("ratio", "adaptive" if model.kind == "any_media" else "16:9")
    if ratio not in (*_RATIOS, *(("adaptive",) if model.kind == "any_media" else ())):
        raise bad(f"ratio must be one of {', '.join(_RATIOS)}")
    if shape is None:
        width, height = map(int, (ratio if ratio != "adaptive" else "16:9").split(":"))
        shape = width / height
    return tier, min(_SIZES[tier], key=lambda size: _apart(size, shape)), ratio


def _apart(size: str, shape: float) -> float:
    width, height = map(int, size.split("*"))
    return abs(math.log(width / height / shape))


def _whole(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad(f"{name} has to be an integer")
    return value


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad(f"{name} has to be true or false")
    return value
