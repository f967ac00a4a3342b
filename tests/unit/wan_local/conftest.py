"""Adapters on random-weight folders, jobs for them, and what a decoder makes of the clips."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from PIL import Image

from adapters.wan_local._adapter import WanLocal
from adapters.wan_local.plugin import register_adapters, register_cards
from adapters.wan_local.tiny import Variant, write_tiny
from gateway.kit.testing import FakeControl, make_job
from gateway.spec import Cards, Device, InputImage, Job, Offer, PluginContext

CPU = Device(pool="cpu", slot=0, kind="cpu")


class MakesAdapters(Protocol):
    def __call__(self, **settings: Any) -> WanLocal: ...


class MakesJobs(Protocol):
    def __call__(self, model: str, **given: Any) -> Job: ...


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the test weights of every adapter here lie, written once."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    """A folder to configure as if it held real weights."""
    root = tmp_path_factory.mktemp("weights")

    def write(variant: Variant) -> Path:
        if not (root / variant).exists():
            write_tiny(root / variant, variant, seed=1)
        return root / variant

    return write


@pytest.fixture
def make(tmp_path: Path, tiny_dir: Path) -> MakesAdapters:
    """Builds the adapter as the plugin does; ``make(folders={...})`` are the operator's settings."""

    def build(**settings: Any) -> WanLocal:
        section = {"tiny_dir": str(tiny_dir), **settings}
        (adapter,) = register_adapters(
            PluginContext(settings={"wan_local": section}, data_dir=tmp_path / "data")
        )
        assert isinstance(adapter, WanLocal)
        return adapter

    return build


@pytest.fixture(scope="session")
def cards() -> Cards:
    (cards,) = register_cards()
    return cards


@pytest.fixture(scope="session")
def offer(cards: Cards) -> Callable[[str], Offer]:
    """The offer of a model."""
    return {one.model: one for one in cards.offers}.__getitem__


@pytest.fixture
def job(offer: Callable[[str], Offer]) -> MakesJobs:
    """A job for a model's offer: 128x64, 1 s, 8 fps, seed 7, unless said otherwise."""

    def build(model: str, **given: Any) -> Job:
        last_frame: bytes | None = given.pop("last_frame", None)
        made = make_job(offer(model), **{"size": "128x64", **given})
        return made if last_frame is None else _with_last_frame(made, last_frame)

    return build


def _with_last_frame(job: Job, data: bytes) -> Job:
    last = InputImage(
        role="last_frame",
        key="images/last",
        sha256="0" * 64,
        media_type="image/png",
        width=64,
        height=64,
        bytes=len(data),
    )
    request = job.request.model_copy(update={"images": (*job.request.images, last)})
    read_first = job.read_image
    return dataclasses.replace(
        job, request=request, read_image=lambda image: data if image is last else read_first(image)
    )


@pytest.fixture
def control(tmp_path: Path) -> Callable[..., FakeControl]:
    """Makes controls, each with a folder of its own; keyword arguments as :class:`FakeControl`."""
    made = iter(range(100))

    def build(**given: Any) -> FakeControl:
        folder = tmp_path / f"work-{next(made)}"
        folder.mkdir()
        return FakeControl(folder, **given)

    return build


@pytest.fixture
def bytes_of(control: Callable[..., FakeControl]) -> Callable[[WanLocal, Job], bytes]:
    """Renders, and returns the clip."""

    def render(adapter: WanLocal, job: Job) -> bytes:
        return adapter.render(job, CPU, control()).path.read_bytes()

    return render


def png(colour: tuple[int, int, int] = (200, 90, 30), size: tuple[int, int] = (64, 64)) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(name="png")
def _png() -> Callable[..., bytes]:
    return png
