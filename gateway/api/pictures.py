"""The images of a request: fetched, decoded, checked, and ready to be stored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from gateway.api.errors import ApiError, invalid
from gateway.api.wire import SentImage
from gateway.media import (
    MAX_WRITTEN_BYTES,
    BadImage,
    CheckedImage,
    check_image,
    decode_data_url,
    fetch_image,
)
from gateway.spec import InputImage

FETCH_S = 15.0
"""Within this time all images of a request are fetched."""


async def fetch_images(
    sent: Sequence[SentImage], *, origins: Collection[str], max_bytes: int, max_total: int
) -> tuple[SentImage, ...]:
    """The same images; those that were named by address now with what lies there.

    ``max_bytes`` bounds each of them, ``max_total`` what is fetched for all.

    Raises:
        ApiError: 400 with the image's own code, and its field in ``param``.
    """
    until = time.monotonic() + FETCH_S
    whole: list[SentImage] = []
    total = 0
    for image in sent:
        if image.address is None:
            whole.append(image)
            continue
        try:
            left = max(until - time.monotonic(), 0)
            data = await fetch_image(
                image.address, allowed_origins=origins, max_bytes=max_bytes, deadline_s=left
            )
        except BadImage as error:
            raise _told(image, error) from None
        total += len(data)
        if total > max_total:
            message = (
                f"'{image.param}': the images of this request are over {max_total / 2**20:g} MiB in all."
            )
            raise invalid(image.param, message, "image_too_large")
        whole.append(replace(image, source=data))
    return tuple(whole)


def check_images(
    sent: Sequence[SentImage], *, max_bytes: int
) -> tuple[tuple[InputImage, ...], dict[str, bytes]]:
    """The images as the request records them, and their cleaned bytes by sha256. Blocks: use a thread.

    Raises:
        ApiError: 400 with the image's own code, and its field in ``param``.
    """
    described: list[InputImage] = []
    contents: dict[str, bytes] = {}
    left = MAX_WRITTEN_BYTES
    for image in sent:
        checked = _check(image, max_bytes, left)
        left -= len(checked.data)
        sha256 = hashlib.sha256(checked.data).hexdigest()
        contents[sha256] = checked.data
        described.append(
            InputImage(
                role=image.role,
                key=sha256,
                sha256=sha256,
                media_type=checked.media_type,
                width=checked.width,
                height=checked.height,
                bytes=len(checked.data),
            )
        )
    return tuple(described), contents


def _check(image: SentImage, max_bytes: int, max_written: int) -> CheckedImage:
    try:
        source = image.source
        data = decode_data_url(source, max_bytes=max_bytes) if isinstance(source, str) else source
        return check_image(data, max_bytes=max_bytes, max_written=max_written)
    except BadImage as error:
        raise _told(image, error) from None


def _told(image: SentImage, error: BadImage) -> ApiError:
    return invalid(image.param, f"'{image.param}': {error.message}.", error.code)
