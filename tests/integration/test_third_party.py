"""A stranger's adapter, from a distribution of its own, through the real API to a playable video."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from openai import OpenAI
from reelgate_comet.testing import FakeComet

from gateway.db.keys import create_key, create_tenant
from gateway.jobs.runtime import Runtime
from gateway.kit.testing import decode
from gateway.settings import Settings

from .conftest import served

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:DeprecationWarning"
)  # the SDK deprecates its video methods


@pytest.fixture(scope="module")
def comet() -> Iterator[FakeComet]:
    with FakeComet(api_key="canary-a-strangers-key") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def client(
    comet: FakeComet, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenAI]:
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("third-party"),
        database_url=module_database_url,
        isolation="none",
        enabled_plugins=("comet", "policies"),
        plugins={"comet": comet.settings()},
        result_origins=tuple(comet.origins),
    )
    runtime = Runtime.open(settings)
    with runtime.db.write() as connection:
        tenant = create_tenant(connection, "acme", "enterprise")
        key = create_key(connection, runtime.pepper, tenant, name="test", admin=True)
    runtime.start()
    try:
        with served(runtime) as url:
            yield OpenAI(base_url=f"{url}/v1", api_key=key.secret)
    finally:
        runtime.close()


def test_it_is_found_by_entry_point_and_its_card_is_in_the_catalog(client: OpenAI) -> None:
    (entry,) = [entry for entry in entry_points(group="reelgate.plugins") if entry.name == "comet"]
    assert entry.dist is not None
    assert entry.dist.name == "reelgate-comet"
    assert [model.id for model in client.models.list()] == ["auto", "comet-1"]


def test_it_generates_through_the_api(client: OpenAI, comet: FakeComet, tmp_path: Path) -> None:
    before = len(comet.jobs)
    video = client.videos.create_and_poll(model="comet-1", prompt="a comet over a lake", seconds="4")
    assert video.status == "completed", video.error
    assert video.model_extra is not None
    assert video.model_extra["gateway"]["adapter"] == "comet"
    file = tmp_path / "comet.mp4"
    client.videos.download_content(video.id).write_to_file(file)
    clip = decode(file)
    assert f"{clip.width}x{clip.height}" == video.size
    assert clip.frames == round(4 * clip.fps)
    assert len(comet.jobs) == before + 1, "submitted once"


def test_what_comet_gave_up_is_a_failed_video_and_not_charged(client: OpenAI, comet: FakeComet) -> None:
    comet.fail()
    video = client.videos.create_and_poll(model="comet-1", prompt="no luck", seconds="4")
    assert video.status == "failed"
    assert video.error is not None
    assert video.model_extra is not None
    assert float(video.model_extra["gateway"]["charge_usd"]) == 0
    comet.succeed()
