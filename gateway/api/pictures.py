"""The images of a request: decoded, checked, and ready to be stored. Blocks; run it in a thread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gateway.api.errors import invalid
from gateway.api.wire import SentImage
from gateway.media import BadImage, CheckedImage, check_image, decode_data_url
from gateway.spec import InputImage

MAX_IMAGES = 16


def check_images(
    sent: Sequence[SentImage], *, max_bytes: int
) -> tuple[tuple[InputImage, ...], dict[str, bytes]]:
    """The images as the request records them, and their cleaned bytes by sha256.

    Raises:
        ApiError: 400 with the image's own code, and its field in ``param``.
    """
    if len(sent) > MAX_IMAGES:
        raise invalid("images", f"'images' holds more than {MAX_IMAGES}: send fewer.")
    described: list[InputImage] = []
    contents: dict[str, bytes] = {}
    for image in sent:
        checked = _check(image, max_bytes)
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


def _check(image: SentImage, max_bytes: int) -> CheckedImage:
    try:
        source = image.source
        data = decode_data_url(source, max_bytes=max_bytes) if isinstance(source, str) else source
        return check_image(data, max_bytes=max_bytes)
    except BadImage as error:
        raise invalid(image.param, f"'{image.param}': {error.message}.", error.code) from None
