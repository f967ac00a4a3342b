"""An input image in the clip's own size, which OpenAI insists on."""

from __future__ import annotations

from io import BytesIO

from gateway.spec import InputImage, parse_size


def fitted(data: bytes, image: InputImage, size: str) -> bytes:
    """The picture in ``size``, its middle where the shape differs; the same bytes if it has that size.

    A PNG stays one, all else becomes a JPEG (quality 95).
    """
    if (image.width, image.height) == parse_size(size):
        return data
    from PIL import Image, ImageOps  # most commands of the CLI resize no picture

    with Image.open(BytesIO(data)) as picture:
        fits = ImageOps.fit(picture, parse_size(size), Image.Resampling.LANCZOS)
    out = BytesIO()
    if image.media_type == "image/png":
        fits.save(out, "PNG")
    else:
        fits.convert("RGB").save(out, "JPEG", quality=95)
    return out.getvalue()
