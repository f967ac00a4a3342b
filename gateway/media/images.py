"""Images that callers send: checked, turned upright and written anew, so that nothing rides along."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageOps, UnidentifiedImageError

ImageCode = Literal["image_too_large", "image_broken", "image_format_unsupported", "image_dimensions"]
MediaType = Literal["image/png", "image/jpeg"]

MAX_IMAGE_BYTES = 20 * 1024 * 1024
MAX_IMAGE_PIXELS = 7680 * 4320
_FORMATS = ("PNG", "JPEG", "WEBP")
_JPEGS = {
    "JPEG",
    "MPO",
}  # a phone's MPO is a JPEG with further pictures behind it: the first is the photograph
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)
_START_OF_SCAN = b"\xff\xda"
_MAX_SCANS = 100  # each scan of a progressive JPEG costs a pass over all its pixels; cameras write about ten
_JPEG_MODES = {"L", "RGB"}


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
    data: bytes, *, max_bytes: int = MAX_IMAGE_BYTES, max_pixels: int = MAX_IMAGE_PIXELS
) -> CheckedImage:
    """Decode a PNG, JPEG or WebP in full, apply its EXIF orientation and encode it again.

    A JPEG stays JPEG (quality 95); all else becomes PNG with the pixels it had (8 bits a channel in colour).
    Colour profiles go with the metadata. Blocks, up to a second or two for the largest.

    Raises:
        BadImage: too many bytes or pixels, another format, damaged, cut short or animated.
    """
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
        _refuse_costly(image, data, max_pixels)
        if image.format == "PNG":
            _refuse_cut_png(data)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels(max_pixels) from None
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise _broken("its header cannot be read") from None
        raise BadImage(
            "image_format_unsupported", "the file is not a PNG, JPEG or WebP image: send one of these"
        ) from None
    except Exception as error:  # decoders raise a dozen unrelated types on damaged input
        raise _broken(str(error)) from error
    return _encode(image)


def decode_data_url(url: str, *, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
    """The bytes of a ``data:image/…;base64,…`` URL; :func:`check_image` says whether they are an image.

    Raises:
        BadImage: another kind of URL, not strict base64, or more than ``max_bytes`` once decoded.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise BadImage(
            "image_format_unsupported", "not an image data URL: send data:image/png;base64,… (or jpeg, webp)"
        )
    if len(url) - head.end() > -(-max_bytes // 3) * 4:
        raise _too_large(max_bytes)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(
            "image_broken",
            f"the data URL is not valid base64 ({error}): encode the whole file, without line breaks",
        ) from error


def _refuse_costly(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """What the header alone forbids, before any pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels, image.size)
    if image.format in _JPEGS:
        if data.count(_START_OF_SCAN) > _MAX_SCANS:
            raise _broken(f"a JPEG of more than {_MAX_SCANS} scans")
    elif getattr(image, "is_animated", False):
        raise BadImage("image_format_unsupported", "the image is animated: send a single still picture")


def _refuse_cut_png(data: bytes) -> None:
    """Check every chunk to the last: loading stops, content, once it has all pixels."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        image.verify()


def _encode(image: Image.Image) -> CheckedImage:
    """Write the pixels, and of all else only a palette's transparency."""
    out = BytesIO()
    media_type: MediaType = "image/jpeg" if image.format in _JPEGS else "image/png"
    image.info = {key: value for key, value in image.info.items() if key == "transparency"}
    if media_type == "image/png":
        image.save(out, "PNG")
    else:
        upright = image if image.mode in _JPEG_MODES else image.convert("RGB")
        upright.save(out, "JPEG", quality=95)
    return CheckedImage(media_type, image.width, image.height, out.getvalue())


def _broken(why: str) -> BadImage:
    return BadImage(
        "image_broken", f"the image is damaged or cut short ({why}): export it again and resend it"
    )


def _too_large(max_bytes: int) -> BadImage:
    return BadImage(
        "image_too_large",
        f"the image is larger than {max_bytes / 2**20:g} MiB: send a smaller or more compressed one",
    )


def _too_many_pixels(max_pixels: int, size: tuple[int, int] | None = None) -> BadImage:
    found = f"{size[0]}x{size[1]} pixels are" if size else "its pixels are"
    return BadImage(
        "image_dimensions",
        f"the image is too large, {found} over {max_pixels / 1e6:.1f} megapixels: scale it down",
    )
