"""The unmodified openai SDK against a running gateway."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import av
import openai
import pytest
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")


@pytest.fixture
def sdk(server: Any) -> Iterator[openai.OpenAI]:
    """The SDK with the first tenant's key; it retries nothing, so that errors show."""
    with openai.OpenAI(api_key=server.key.secret, base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


def png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 36), "orange").save(out, "PNG")
    return out.getvalue()


def test_create_poll_download_and_delete(sdk: openai.OpenAI) -> None:
    small: Any = {"model": "echo", "seconds": "1", "size": "64x36"}  # the SDK's hints know only OpenAI's
    video = sdk.videos.create_and_poll(prompt="a cat", **small)
    assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "1", "64x36")
    assert video.error is None
    assert video.completed_at is not None
    assert video.completed_at >= video.created_at
    gateway = (video.model_extra or {})["gateway"]
    assert (gateway["model"], gateway["adapter"]) == ("echo", "echo")
    assert float(gateway["charge_usd"]) > 0
    assert gateway["latency"]["total_ms"] > 0

    clip = sdk.videos.download_content(video.id).read()
    with av.open(BytesIO(clip), "r") as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 36)
        assert len(list(container.decode(video=0))) == 16
    for variant in ("thumbnail", "spritesheet"):
        picture = sdk.videos.download_content(video.id, variant=variant).read()
        assert Image.open(BytesIO(picture)).size[0] > 0

    deleted = sdk.videos.delete(video.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(video.id)


def test_extra_body_arrives_through_the_form(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(
        prompt="a cat",
        extra_body={
            "mode": "preview",
            "audio": True,
            "seed": 7,
            "fps": 8,
            "max_cost": "1.00",
            "options": {"echo": {"latency_ms": 5}},
            "images": [{"role": "first_frame", "image_url": _data_url()}],
        },
    )
    done = sdk.videos.poll(video.id)
    assert done.status == "completed"
    gateway = (done.model_extra or {})["gateway"]
    assert gateway["mode"] == "preview"
    with av.open(BytesIO(sdk.videos.download_content(video.id).read()), "r") as container:
        assert container.streams.video[0].average_rate == 8


def test_an_input_image_as_a_file_and_a_remix_of_it(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(
        prompt="a cat", model="echo", input_reference=("cat.png", png(), "image/png")
    )
    assert video.status == "completed"
    remix = sdk.videos.poll(sdk.videos.remix(video.id, prompt="a dog").id)
    assert (remix.status, remix.remixed_from_video_id, remix.prompt) == ("completed", video.id, "a dog")
    assert (remix.model, remix.size, remix.seconds) == (video.model, video.size, video.seconds)


def test_listing_pages_through_everything_once(sdk: openai.OpenAI) -> None:
    small: Any = {"model": "echo", "seconds": "1", "size": "64x36"}  # the SDK's hints know only OpenAI's
    made = [sdk.videos.create(prompt=f"number {n}", **small).id for n in range(5)]
    newest = sdk.videos.list(limit=2)
    assert [video.id for video in newest.data] == made[:2:-1]
    assert newest.has_more
    assert [video.id for video in sdk.videos.list(limit=2) if video.id in made] == made[::-1]
    assert [video.id for video in sdk.videos.list(limit=3, order="asc") if video.id in made] == made
    for video_id in made:
        sdk.videos.poll(video_id)


def test_a_failed_video_is_a_value(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(prompt="a cat", model="echo", extra_body={"options": {"echo": {"fail": "oom"}}})
    done = sdk.videos.poll(video.id)
    assert done.status == "failed"
    assert done.error is not None
    assert done.error.code == "out_of_memory"
    assert (done.model_extra or {})["gateway"]["charge_usd"] == "0"
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.videos.download_content(video.id)
    assert raised.value.code == "video_failed"


def test_errors_are_typed(sdk: openai.OpenAI, server: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.videos.create(prompt="a cat", model="ecko")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert "'echo'" in unknown.value.message

    with pytest.raises(openai.BadRequestError) as long:
        sdk.videos.create(prompt="a cat", extra_body={"seconds": "10000"})
    assert (long.value.code, long.value.param) == ("invalid_value", "seconds")

    with pytest.raises(openai.UnprocessableEntityError) as silent:
        sdk.videos.create(prompt="a cat", model="echo", extra_body={"audio": "required"})
    assert silent.value.code == "audio_unsupported"

    with openai.OpenAI(api_key="rg_live_wrong", base_url=f"{server.url}/v1", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as denied:
            stranger.videos.create(prompt="a cat")
        assert denied.value.code == "invalid_api_key"

    with openai.OpenAI(api_key=server.other.secret, base_url=f"{server.url}/v1", max_retries=0) as basic:
        with pytest.raises(openai.PermissionDeniedError) as tier:
            basic.videos.create(prompt="a cat", extra_body={"tier": "pro"})
        assert tier.value.code == "tier_too_high"


def test_the_models_list_names_what_is_ready(sdk: openai.OpenAI) -> None:
    assert {model.id for model in sdk.models.list()} == {"auto", "echo", "echo-remote"}


def _data_url() -> str:
    return "data:image/png;base64," + base64.b64encode(png()).decode()
