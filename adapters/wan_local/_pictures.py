"""A request's images as the engine takes them."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from gateway.spec import BadRequest, ImageRole, Job, parse_size


def read_picture(job: Job, role: ImageRole) -> Image.Image | None:
    """The image of this role as RGB in the clip's size, its middle kept where the shapes differ.

    Raises:
        BadRequest: it does not decode.
    """
    given = job.request.image(role)
    if given is None:
        return None
    data = job.read_image(given)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRequest(
            f"The image {role} cannot be decoded ({error}): send it again as PNG, JPEG or WebP"
        ) from None
    return ImageOps.fit(upright, parse_size(job.output.size), Image.Resampling.LANCZOS)
