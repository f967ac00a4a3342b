"""An adapter with one account, and jobs for it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from adapters.gemini_omni._adapter import GeminiOmni, GeminiOmniSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.kit.testing import make_job
from gateway.spec import Job, PluginContext

KEY = "AIzaCanary-71c0ffee5d"
BASE = "https://generativelanguage.googleapis.com/v1beta"
NOW = 1_795_600_000.0
OFFERS = {offer.id: offer for offer in load_cards("adapters.gemini_omni").offers}
OMNI = OFFERS["gemini_omni/gemini-omni-1.1/gemini-api"]

Jobs = Callable[..., Job]


def make(section: dict[str, Any]) -> GeminiOmni:
    context = PluginContext(settings={"gemini_omni": section}, data_dir=Path())
    return GeminiOmni(read_settings(context, "gemini_omni", GeminiOmniSettings), now=lambda: NOW)


@pytest_asyncio.fixture
async def adapter() -> AsyncIterator[GeminiOmni]:
    built = make({"accounts": {"default": {"api_key": KEY}}})
    yield built
    await built.aclose()


@pytest.fixture
def job() -> Jobs:
    """Builds jobs: six seconds of 720p, unless told otherwise; ``roles`` gives it images."""

    def build(*roles: str, kind: str = "PNG", **given: Any) -> Job:
        shape = {"prompt": "a paper boat on a puddle", "size": "1280x720", "seconds": "6", "fps": 24}
        built = make_job(OMNI, **{**shape, "audio": True, "first_frame": picture(kind), **given})
        (image,) = built.request.images
        images = tuple(
            image.model_copy(update={"role": role, "media_type": f"image/{kind.lower()}"}) for role in roles
        )
        return replace(built, request=built.request.model_copy(update={"images": images}))

    return build


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 36), (200, 90, 30)).save(buffer, kind)
    return buffer.getvalue()
