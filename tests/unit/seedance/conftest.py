"""Jobs as the core hands them to the adapter, and an adapter with an account on each host."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
import pytest_asyncio
from PIL import Image

from adapters.seedance import register_adapters, register_sandbox
from adapters.seedance._adapter import Seedance
from gateway.kit.cards import load_cards
from gateway.kit.sandbox import FakeProvider
from gateway.kit.testing import make_job
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Continues, InputImage, Job, Offer, PluginContext

KEY = "ark-canary-77aa01"
ACCOUNTS: dict[str, Any] = {
    "default": {"api_key": KEY},
    "china": {"api_key": "ark-canary-china-5", "region": "cn-beijing"},
}


class Builds(Protocol):
    """Makes a job for the offer ``seedance/<name>``; ``images`` are roles, all of one small picture."""

    def __call__(self, name: str, **given: Any) -> Job: ...


@pytest.fixture(scope="session")
def cards() -> Cards:
    return load_cards("adapters.seedance")


@pytest.fixture(scope="session")
def find_offer(cards: Cards) -> Callable[[str], Offer]:
    by_id = {one.id: one for one in cards.offers}
    return lambda name: by_id[f"seedance/{name}" if name.count("/") else f"seedance/{name}/ap-southeast"]


@pytest.fixture(scope="session")
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (640, 360), (200, 90, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


@pytest.fixture
def job(find_offer: Callable[[str], Offer], picture: bytes) -> Builds:
    def build(name: str, **given: Any) -> Job:
        roles, extra = given.pop("images", ()), given.pop("request", {})
        rest = {key: given.pop(key) for key in ("callback_url", "read_checkpoint") if key in given}
        shape = {"size": "1280x720", "seconds": "5", "fps": 24, "tag": "att_42"}
        made = make_job(find_offer(name), **{**shape, **given})
        images = tuple(_image(role, picture) for role in roles)
        request = made.request.model_copy(update={"images": images, **extra})
        return replace(made, request=request, read_image=lambda image: picture, **rest)

    return build


@pytest.fixture
def continues() -> Continues:
    """A draft that was made before."""
    return Continues(
        video_id="video_1",
        attempt_id="att_1",
        offer="seedance/seedance-1.5-pro/ap-southeast",
        done_preset="draft",
        checkpoint="checkpoints/video_1/1",
        sha256="0" * 64,
    )


@pytest.fixture(scope="session")
def adapter_with() -> Callable[..., Seedance]:
    def build(**settings: Any) -> Seedance:
        section = {"accounts": ACCOUNTS, **settings}
        return built(PluginContext(settings={"seedance": section}, data_dir=Path()))

    return build


@pytest.fixture(scope="session")
def adapter(adapter_with: Callable[..., Seedance]) -> Iterator[Seedance]:
    """One for all: it holds no state of jobs, and its clients take a while to make."""
    made = adapter_with()
    yield made
    asyncio.run(made.aclose())


def built(context: PluginContext) -> Seedance:
    (made,) = register_adapters(context)
    assert isinstance(made, Seedance)
    return made


def fake_ark() -> SandboxWorld:
    """The fake Ark; jobs are finished by the next look."""
    return SandboxWorld(cast(FakeProvider, register_sandbox()[0]), built)


@pytest.fixture
def world() -> Iterator[SandboxWorld]:
    with fake_ark() as world:
        yield world


@pytest_asyncio.fixture
async def ark(world: SandboxWorld) -> AsyncIterator[Seedance]:
    """An adapter that speaks to the fake."""
    made = cast(Seedance, world.adapter())
    yield made
    await made.aclose()


def _image(role: Any, picture: bytes) -> InputImage:
    digest = sha256(picture).hexdigest()
    return InputImage(
        role=role,
        key=f"images/{digest}",
        sha256=digest,
        media_type="image/webp",
        width=640,
        height=360,
        bytes=len(picture),
    )
