"""Jobs for Kling, and the adapter to hand them to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from adapters.kling import register_adapters
from adapters.kling._adapter import Kling
from gateway.kit.cards import load_cards
from gateway.kit.testing import make_job
from gateway.spec import ImageRole, InputImage, Job, Offer, Output, PluginContext

SINGAPORE = "https://api-singapore.klingai.com"
KEY = "kling-key-5f1c"
CARDS = load_cards("adapters.kling")
OFFERS = {offer.upstream: offer for offer in CARDS.offers}

SIZES = {"720p": "1280x720", "1080p": "1920x1080", "4k": "3840x2160"}


def adapter(settings: dict[str, Any] | None = None, **account: Any) -> Kling:
    """Kling with these settings, or with one account that has ``KEY``: then the same one each time."""
    if settings is None and not account:
        return _plain()
    return build(settings or {"accounts": {"default": {"api_key": KEY, **account}}})


@cache
def _plain() -> Kling:
    return build({"accounts": {"default": {"api_key": KEY}}})  # it keeps no state but its connections


def build(section: Mapping[str, Any]) -> Kling:
    """Kling with this section."""
    context = PluginContext(settings={"kling": section}, data_dir=Path())
    (built,) = register_adapters(context)
    assert isinstance(built, Kling)
    return built


def job(
    upstream: str,
    *roles: ImageRole,
    resolution: str = "1080p",
    portrait: bool = False,
    seconds: str = "5",
    audio: bool = False,
    negative_prompt: str | None = None,
    callback_url: str | None = None,
    offer: Offer | None = None,
    **given: Any,
) -> Job:
    """A job for the offer of this upstream id; each role gets an image of its own, in the clip's size."""
    size = SIZES[resolution]
    if portrait:
        size = "x".join(reversed(size.split("x")))
    made = make_job(
        offer or OFFERS[upstream], size=size, seconds=seconds, fps=24, audio=audio, tag="att_01", **given
    )
    pictures = {f"in/{index}": png(made.output, index) for index in range(len(roles))}
    images = tuple(_image(role, key, pictures[key]) for role, key in zip(roles, pictures, strict=True))
    request = made.request.model_copy(update={"images": images, "negative_prompt": negative_prompt})
    return replace(
        made, request=request, callback_url=callback_url, read_image=lambda image: pictures[image.key]
    )


def png(output: Output, shade: int = 0) -> bytes:
    """A picture in the clip's size."""
    width, height = map(int, output.size.split("x"))
    buffer = io.BytesIO()
    Image.new("L", (width, height), shade).save(buffer, "PNG")
    return buffer.getvalue()


def _image(role: ImageRole, key: str, data: bytes) -> InputImage:
    with Image.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    return InputImage(
        role=role,
        key=key,
        sha256="0" * 64,
        media_type="image/png",
        width=width,
        height=height,
        bytes=len(data),
    )
