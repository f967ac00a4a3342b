"""The bodies of ``:predictLongRunning``, read as strictly as the documentation has them.

Not imitated, and so refused: extension, masks, videos as input, and ``webhookConfig``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from adapters.veo._sandbox_google import invalid
from gateway.kit.sandbox import Clip

_SIDES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
_FPS = 24
_LARGEST_IMAGE = 20_000_000  # bytes
_MOST_REFERENCES = 3
_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}

MimeType = Literal["image/png", "image/jpeg"]
AspectRatio = Literal["16:9", "9:16"]
Resolution = Literal["720p", "1080p", "4k"]
PersonGeneration = Literal["allow_adult", "dont_allow", "allow_all"]
ReferenceType = Literal["ASSET", "asset", "STYLE", "style"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InlineData(_Body):
    mimeType: MimeType
    data: str


class GeminiImage(_Body):
    """Either as the SDK sends it, or as the samples of the documentation have it."""

    bytesBase64Encoded: str | None = None
    mimeType: MimeType | None = None
    inlineData: InlineData | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.inlineData is not None and self.bytesBase64Encoded is None:
            _check_image(self.inlineData.data, self.inlineData.mimeType)
        elif self.bytesBase64Encoded is not None and self.mimeType is not None and self.inlineData is None:
            _check_image(self.bytesBase64Encoded, self.mimeType)
        else:
            raise ValueError("give bytesBase64Encoded with mimeType, or inlineData")
        return self


class VertexImage(_Body):
    bytesBase64Encoded: str | None = None
    gcsUri: str | None = Field(default=None, pattern=r"^gs://[^/]+/.+$")
    mimeType: MimeType

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.bytesBase64Encoded is None) == (self.gcsUri is None):
            raise ValueError("give bytesBase64Encoded or gcsUri")
        if self.bytesBase64Encoded is not None:
            _check_image(self.bytesBase64Encoded, self.mimeType)
        return self


def _check_image(text: str, mime_type: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("Base64 decoding failed") from None
    if len(data) > _LARGEST_IMAGE:
        raise ValueError("the image is larger than 20 MB")
    if not data.startswith(_SIGNATURES[mime_type]):
        raise ValueError(f"the image is no {mime_type}")


class GeminiReference(_Body):
    image: GeminiImage
    referenceType: ReferenceType


class VertexReference(_Body):
    image: VertexImage
    referenceType: ReferenceType


class GeminiInstance(_Body):
    prompt: str = Field(min_length=1)
    image: GeminiImage | None = None
    lastFrame: GeminiImage | None = None
    referenceImages: list[GeminiReference] = Field(default_factory=list)


class VertexInstance(_Body):
    prompt: str = Field(min_length=1)
    image: VertexImage | None = None
    lastFrame: VertexImage | None = None
    referenceImages: list[VertexReference] = Field(default_factory=list)


def _number(value: Any) -> Any:
    """The documentation's samples write the seconds as text, the SDK as a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class GeminiParameters(_Body):
    aspectRatio: AspectRatio = "16:9"
    resolution: Resolution = "720p"
    durationSeconds: Annotated[Literal[4, 6, 8], BeforeValidator(_number)] = 8
    negativePrompt: str | None = None
    personGeneration: PersonGeneration | None = None
    sampleCount: int = Field(default=1, ge=1, le=1)


class VertexParameters(_Body):
    aspectRatio: AspectRatio = "16:9"
    resolution: Resolution = "720p"
    durationSeconds: Literal[4, 6, 8] = 8
    negativePrompt: str | None = None
    personGeneration: PersonGeneration | None = None
    sampleCount: int = Field(default=1, ge=1, le=4)
    storageUri: str | None = Field(default=None, pattern=r"^gs://[a-z0-9][a-z0-9._-]+/(.+/)?$")
    fps: int = Field(default=_FPS, ge=_FPS, le=_FPS)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    enhancePrompt: bool | None = None
    generateAudio: bool = True
    compressionQuality: Literal["OPTIMIZED", "LOSSLESS"] | None = None
    resizeMode: Literal["CROP", "PAD"] | None = None
    pubsubTopic: str | None = None


Label = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]
LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class GeminiBody(_Body):
    instances: list[GeminiInstance] = Field(min_length=1, max_length=1)
    parameters: GeminiParameters = Field(default_factory=GeminiParameters)


class VertexBody(_Body):
    instances: list[VertexInstance] = Field(min_length=1, max_length=1)
    parameters: VertexParameters = Field(default_factory=VertexParameters)
    labels: dict[LabelKey, Label] = Field(default_factory=dict)


_Given = TypeVar("_Given", bound=_Body)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made."""

    prompt: str
    resolution: Resolution
    clip: Clip
    count: int
    storage_uri: str | None
    label: str | None


def read_gemini(body: Any, model: str) -> Order:
    """A body of the Gemini API.

    Raises:
        Wrong: as it answers what it does not take.
    """
    given = _read(GeminiBody, body)
    (instance,), asked = given.instances, given.parameters
    _check(asked, instance, model)
    pictured = bool(instance.image or instance.lastFrame or instance.referenceImages)
    wanted = "allow_adult" if pictured else "allow_all"
    if asked.personGeneration not in (None, wanted):
        raise invalid(f"personGeneration: {asked.personGeneration} is not supported here; use {wanted}.")
    return Order(
        prompt=instance.prompt,
        resolution=asked.resolution,
        clip=_clip(asked, audio=True),
        count=1,
        storage_uri=None,
        label=None,
    )


def read_vertex(body: Any, model: str) -> Order:
    """A body of Vertex AI.

    Raises:
        Wrong: as it answers what it does not take.
    """
    given = _read(VertexBody, body)
    (instance,), asked = given.instances, given.parameters
    _check(asked, instance, model)
    return Order(
        prompt=instance.prompt,
        resolution=asked.resolution,
        clip=_clip(asked, audio=asked.generateAudio),
        count=asked.sampleCount,
        storage_uri=asked.storageUri,
        label=next(iter(given.labels.values()), None),
    )


def _read(kind: type[_Given], body: Any) -> _Given:
    try:
        return kind.model_validate(body)
    except ValidationError as found:
        first = found.errors(include_input=False, include_url=False)[0]
    *place, name = map(str, first["loc"] or ("body",))
    if first["type"] == "extra_forbidden":
        at = f" at '{'.'.join(place)}'" if place else ""
        raise invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')
    raise invalid(f"Invalid value at '{'.'.join([*place, name])}': {first['msg']}")


def _check(
    asked: GeminiParameters | VertexParameters, instance: GeminiInstance | VertexInstance, model: str
) -> None:
    lite, references = "-lite-" in model, instance.referenceImages
    if asked.resolution == "4k" and lite:
        raise invalid(f"resolution: 4k is not supported by {model}.")
    if references and lite:
        raise invalid(f"referenceImages are not supported by {model}.")
    if len(references) > _MOST_REFERENCES:
        raise invalid(f"referenceImages: at most {_MOST_REFERENCES} are supported.")
    if references and (instance.image or instance.lastFrame):
        raise invalid("referenceImages: image and lastFrame are not supported beside them.")
    if instance.lastFrame and not instance.image:
        raise invalid("lastFrame is supported for image to video only: image is needed.")
    if asked.durationSeconds != 8 and (asked.resolution != "720p" or references):
        raise invalid("durationSeconds has to be 8 for 1080p, 4k and reference images.")


def _clip(asked: GeminiParameters | VertexParameters, *, audio: bool) -> Clip:
    long, short = _SIDES[asked.resolution]
    width, height = (long, short) if asked.aspectRatio == "16:9" else (short, long)
    return Clip(width=width, height=height, seconds=Decimal(asked.durationSeconds), fps=_FPS, audio=audio)
