"""Images that callers send: checked, turned upright and written anew, so that nothing rides along."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from gateway.media._decoder import Decoder, Died
from gateway.media._pixels import CPU_S, MEMORY

ImageCode = Literal[
    "image_too_large",
    "image_broken",
    "image_format_unsupported",
    "image_dimensions",
    "image_url_unsafe",
    "image_url_unreachable",
]
MediaType = Literal["image/png", "image/jpeg"]

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGE_PIXELS = 7680 * 4320
MAX_WRITTEN_BYTES = 128 * 1024 * 1024
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_DECODER = Decoder()


class BadImage(ValueError):
    """An image that cannot be used; the message says why and what to send instead."""

    def __init__(self, code: ImageCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class CheckedImage:
    """An upright image without metadata; ``data`` is the whole file, sides are in pixels."""

    media_type: MediaType
    width: int
    height: int
    data: bytes


def check_image(
    data: bytes,
    *,
    max_bytes: int = MAX_IMAGE_BYTES,
    max_pixels: int = MAX_IMAGE_PIXELS,
    max_written: int = MAX_WRITTEN_BYTES,
) -> CheckedImage:
    """Decode a PNG, JPEG or WebP in full, apply its EXIF orientation and encode it again.

    A JPEG stays JPEG (quality 95); all else becomes PNG with the pixels it had (8 bits a channel in colour).
    Colour profiles go with the metadata. Blocks, up to a second or two for the largest.

    Raises:
        BadImage: too many bytes or pixels, another format, damaged, cut short or animated.
    """
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    try:
        told, written = _DECODER.decode(data, max_pixels=max_pixels, max_written=max_written)
    except Died:
        raise BadImage(
            "image_broken",
            f"it cannot be decoded within {CPU_S} s and {MEMORY / 2**30:g} GiB: export it again, smaller",
        ) from None
    if "code" in told:
        raise BadImage(told["code"], told["message"])
    return CheckedImage(told["media_type"], told["width"], told["height"], written)


def decode_data_url(url: str, *, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """The bytes of a ``data:image/…;base64,…`` URL; :func:`check_image` says whether they are an image.

    Raises:
        BadImage: another kind of URL, not strict base64, or more than ``max_bytes`` once decoded.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise BadImage(
            "image_format_unsupported",
            "neither an https address nor an image data URL: send https://… or data:image/png;base64,…",
        )
    if len(url) - head.end() > -(-max_bytes // 3) * 4:
        raise too_large(max_bytes)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(
            "image_broken",
            f"the data URL is not valid base64 ({error}): encode the whole file, without line breaks",
        ) from error


def too_large(max_bytes: int) -> BadImage:
    """An image of more bytes than are accepted."""
    return BadImage(
        "image_too_large",
        f"the image is larger than {max_bytes / 2**20:g} MiB: send a smaller or more compressed one",
    )
