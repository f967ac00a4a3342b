"""Jobs on the adapter's own offers, with any images, and an adapter with an account in two regions."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from PIL import Image

from adapters.dashscope_wan._adapter import DashscopeWan, StudioSettings
from gateway.catalog import Catalog
from gateway.kit.cards import load_cards
from gateway.spec import ImageRole, InputImage, Job, ModelCard, Offer, Output, VideoRequest

KEYS = {"default": "sk-singapore-7f3a11c0", "cn": "sk-beijing-0be4d982"}


@cache
def catalog() -> Catalog:
    return Catalog.join([("dashscope_wan", load_cards("adapters.dashscope_wan"))])


def offer_of(id: str) -> tuple[ModelCard, Offer]:
    found = catalog().offer(f"dashscope_wan/{id}")
    assert found is not None, id
    return found


@cache
def picture(width: int = 832, height: int = 480, kind: str = "PNG", colour: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (colour, 90, 30)).save(buffer, kind)
    return buffer.getvalue()


def make(
    offer_id: str,
    *,
    size: str = "1280x720",
    seconds: str = "5",
    audio: bool = False,
    pictures: Mapping[str, bytes] | None = None,
    options: Mapping[str, Any] | None = None,
    account: str = "default",
    tag: str = "att_x",
    **asked: Any,
) -> Job:
    """A job; ``pictures`` by role, ``reference``, ``reference 2`` and so on being references."""
    card, offer = offer_of(offer_id)
    data = {f"in/{name}": picture for name, picture in (pictures or {}).items()}
    images = tuple(_image(name.split("/")[1], name, content) for name, content in data.items())
    request = VideoRequest.model_validate(
        {
            "prompt": "a red kite over dunes",
            "images": images,
            "options": {} if options is None else {"dashscope_wan": dict(options)},
            **asked,
        }
    )
    return Job(
        request=request,
        output=Output(size=size, seconds=Decimal(seconds), fps=card.fps.default, audio=audio),
        offer=offer,
        preset=offer.presets[0],
        tag=tag,
        account=account,
        read_image=lambda image: data[image.key],
    )


def _image(name: str, key: str, content: bytes) -> InputImage:
    role: ImageRole = "last_frame" if name == "last_frame" else "first_frame"
    if name.startswith("reference"):
        role = "reference"
    return InputImage(
        role=role,
        key=key,
        sha256=hashlib.sha256(content).hexdigest(),
        media_type="image/png",
        width=832,
        height=480,
        bytes=len(content),
    )


@pytest.fixture(scope="session")
def adapter() -> DashscopeWan:
    """One for all tests: it keeps nothing."""
    return build()


def build(**settings: Any) -> DashscopeWan:
    accounts = {
        "default": {"api_key": KEYS["default"]},
        "cn": {"api_key": KEYS["cn"], "region": "beijing"},
    }
    return DashscopeWan(
        StudioSettings.model_validate({"accounts": accounts, "inline_media": True, **settings})
    )
