"""An adapter with one account, jobs for it, and a reader of what it sent."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from email.message import Message
from email.parser import BytesParser
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from adapters.openai_videos import register_adapters
from gateway.kit.cards import load_cards
from gateway.kit.testing import make_job
from gateway.spec import Job, Offer, PluginContext, RemoteAdapter

KEY = "sk-canary-77f0c1d2e3"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BASES = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://clips.openai.azure.com/openai/v1",
    "vllm_omni": "http://10.0.0.5:8091/v1",
    "sglang": "http://10.0.0.5:30010/v1",
    "litellm": "http://10.0.0.5:4000/v1",
    "reelgate": "https://video.example.com/v1",
}

OFFERS = {offer.id: offer for offer in load_cards("adapters.openai_videos").offers}
SORA = OFFERS["openai_videos/sora-2/openai"]
OWN = Offer(model="wan-2.2-t2v-a14b", adapter="openai_videos", upstream="Wan-AI/Wan2.2-T2V-A14B-Diffusers")

Adapters = Callable[..., RemoteAdapter]
Jobs = Callable[..., Job]


@pytest_asyncio.fixture
async def adapter() -> AsyncIterator[Adapters]:
    """Builds adapters for one account of a flavour; it is called ``default``."""
    built: list[RemoteAdapter] = []

    def build(flavour: str = "openai", **account: Any) -> RemoteAdapter:
        account = {"flavour": flavour, "base_url": BASES[flavour], "api_key": KEY, **account}
        return make({"accounts": {"default": account}}, built)

    yield build
    for one in built:
        await one.aclose()


def make(section: dict[str, Any], built: list[RemoteAdapter]) -> RemoteAdapter:
    (adapter,) = register_adapters(PluginContext(settings={"openai_videos": section}, data_dir=None))  # type: ignore[arg-type]  # it has no files
    assert isinstance(adapter, RemoteAdapter)
    built.append(adapter)
    return adapter


@pytest.fixture
def job() -> Jobs:
    """Builds jobs: eight seconds of Sora 2, unless told otherwise."""

    def build(offer: Offer = SORA, **given: Any) -> Job:
        shape = {"prompt": "a paper boat on a puddle", "size": "1280x720", "seconds": "8", "fps": 30}
        return make_job(offer, **{**shape, "audio": True, **given})

    return build


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 90, 30)).save(buffer, kind)
    return buffer.getvalue()


def parts_of(request: Any) -> dict[str, Message]:
    """The parts of a multipart request by name, in order."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    whole = BytesParser().parsebytes(head + request.content)
    found: dict[str, Message] = {}
    for part in whole.get_payload():
        assert isinstance(part, Message)
        name = str(part.get_param("name", header="content-disposition"))
        assert name not in found, f"{name} was sent twice"
        found[name] = part
    return found


def fields_of(request: Any) -> dict[str, str]:
    """The text parts of a multipart request, and ``(file)`` for each file."""
    return {
        name: "(file)" if part.get_filename() else bytes(part.get_payload(decode=True)).decode()  # type: ignore[arg-type]  # of a leaf, they are bytes
        for name, part in parts_of(request).items()
    }
