"""Prefix previews over HTTP, on a running gateway: made, continued, refused in words, deleted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import openai
import pytest
from openai.types import Video
from PIL import Image

from gateway.ledger.verify import verify_ledger
from tests._stepper import OFFER, PREVIEW, Stepper

from .conftest import Server, running

SLOW = {"prompt": "a cat", "model": "echo", "preset": "standard", "options": {"echo": {"latency_ms": 60_000}}}
STATE = b"step 2 of a cat"


@pytest.fixture(scope="module")
def stepper() -> Stepper:
    return Stepper()


@pytest.fixture(scope="module")
def server(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, stepper: Stepper
) -> Iterator[Server]:
    with running(module_database_url, tmp_path_factory.mktemp("server"), stepper, offers=(OFFER,)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def preview(server: Server, client: httpx.Client) -> str:
    """A finished prefix preview's id."""
    return made(server, client, PREVIEW)["id"]


def made(server: Server, client: httpx.Client, body: dict[str, Any], at: str = "") -> dict[str, Any]:
    response = client.post(f"/v1/videos{at}", json=body if at else {"prompt": "a cat", **body})
    assert response.status_code == 200, response.text
    video = server.finished(response.json()["id"])
    assert video["status"] == "completed", video["error"]
    return video


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def states(server: Server, video_id: str) -> list[str]:
    return [entry.key for entry in server.runtime.store.keys(f"checkpoints/{video_id}")]


def how_many(client: httpx.Client) -> int:
    return len(client.get("/v1/videos", params={"limit": 100}).json()["data"])


def test_a_preview_is_finished_for_what_is_left(
    server: Server, client: httpx.Client, stepper: Stepper
) -> None:
    picture = BytesIO()
    Image.new("RGB", (64, 64), "orange").save(picture, "PNG")
    first_frame = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    shown = made(server, client, {**PREVIEW, "input_reference": first_frame})
    about = shown["gateway"]
    assert (about["preset"], about["mode"], about["continuable"]) == ("prefix", "preview", True)
    assert shown["continued_from_video_id"] is None
    assert (about["hold_usd"], about["charge_usd"]) == ("0.004", "0.004")

    url = f"/v1/videos/{shown['id']}/continue"
    accepted = client.post(url)
    assert accepted.status_code == 200, accepted.text
    assert accepted.headers["openai-poll-after-ms"]
    assert accepted.json()["continued_from_video_id"] == shown["id"]
    final = server.finished(accepted.json()["id"])
    about = final["gateway"]
    assert (final["status"], about["preset"], about["mode"]) == ("completed", "whole", "final")
    assert (about["estimate_usd"], about["hold_usd"], about["charge_usd"]) == ("0.006", "0.006", "0.006")
    assert (final["continued_from_video_id"], final["remixed_from_video_id"]) == (shown["id"], None)
    assert about["continuable"] is False
    assert STATE in stepper.begun_from.values()
    assert client.get(f"/v1/videos/{final['id']}/content").status_code == 200

    again = made(server, client, {}, at=f"/{shown['id']}/continue")
    assert again["id"] != final["id"]
    remix = made(server, client, {"prompt": "a dog"}, at=f"/{final['id']}/remix")
    assert (remix["remixed_from_video_id"], remix["continued_from_video_id"]) == (final["id"], None)
    with server.runtime.db.read() as connection:
        assert verify_ledger(connection) == []


@pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
def test_the_unmodified_sdk_continues_with_a_plain_post(server: Server, preview: str) -> None:
    with openai.OpenAI(api_key=server.key.secret, base_url=f"{server.url}/v1", max_retries=0) as sdk:
        asked = sdk.post(f"/videos/{preview}/continue", cast_to=Video)
    assert asked.model_extra is not None
    assert asked.model_extra["continued_from_video_id"] == preview
    assert server.finished(asked.id)["status"] == "completed"


def test_the_same_key_makes_one_final_video(server: Server, client: httpx.Client, preview: str) -> None:
    url, headers = f"/v1/videos/{preview}/continue", {"idempotency-key": f"finish {preview}"}
    first = client.post(url, json={"priority": "batch"}, headers=headers)
    second = client.post(url, json={"priority": "batch"}, headers=headers)
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert refused(client.post(url, headers=headers)) == (422, "idempotency_key_reused")
    assert server.finished(first.json()["id"])["status"] == "completed"


def test_its_limits_may_be_set_anew_and_nothing_else(client: httpx.Client, preview: str) -> None:
    url, before = f"/v1/videos/{preview}/continue", how_many(client)
    for fields in ({"seed": 8}, {"prompt": "a dog"}, {"preset": "standard"}, {"continues": {}}):
        assert refused(client.post(url, json=fields)) == (400, "unknown_parameter")
    sent = client.post(url, files={"input_reference": b"x"})
    assert refused(sent) == (400, "unknown_parameter")
    dear = client.post(url, json={"max_cost": "0.005"})
    assert refused(dear) == (422, "over_max_cost")
    assert {way["code"] for way in dear.json()["plan"]["dropped"]} == {"over_max_cost", "cannot_continue"}
    assert how_many(client) == before


def test_what_cannot_be_continued_says_why(server: Server, client: httpx.Client, preview: str) -> None:
    def answer(video_id: str) -> tuple[int, str]:
        return refused(client.post(f"/v1/videos/{video_id}/continue"))

    assert answer("video_01m7wdgk45e3frkwy2tjesdw58") == (404, "video_not_found")
    with server.client(server.other) as other:
        foreign = other.post(f"/v1/videos/{preview}/continue")
        assert refused(foreign) == (404, "video_not_found")

    slow = client.post("/v1/videos", json=SLOW).json()["id"]
    assert answer(slow) == (409, "not_continuable"), "waiting would not make it one"
    client.post(f"/v1/videos/{slow}/cancel")
    assert server.finished(slow)["error"]["code"] == "cancelled"
    assert answer(slow) == (409, "not_continuable")

    whole = made(server, client, {"model": "echo", "preset": "standard", "seconds": "1", "size": "64x64"})
    told = client.post(f"/v1/videos/{whole['id']}/continue")
    assert refused(told) == (409, "not_continuable")
    assert "mode 'preview'" in told.json()["error"]["message"]

    (state,) = states(server, preview)
    server.runtime.store.delete(state)
    assert answer(preview) == (410, "checkpoint_missing")


def test_the_state_is_not_for_download_and_goes_with_the_video(
    server: Server, client: httpx.Client, preview: str
) -> None:
    content = client.get(f"/v1/videos/{preview}/content", params={"variant": "checkpoint"})
    assert refused(content) == (400, "invalid_value")
    url = client.post(f"/v1/videos/{preview}/url", json={"variant": "checkpoint"})
    assert refused(url) == (400, "invalid_value")
    assert len(states(server, preview)) == 1
    assert client.delete(f"/v1/videos/{preview}").status_code == 200
    assert states(server, preview) == []
    gone = client.post(f"/v1/videos/{preview}/continue")
    assert refused(gone) == (404, "video_not_found")


def test_a_create_cannot_say_what_it_goes_on_from(client: httpx.Client, preview: str) -> None:
    done = {"video_id": preview, "offer": "stepper/echo", "done_preset": "prefix", "checkpoint": "videos/x/y"}
    body = {"prompt": "a cat", "model": "echo", "preset": "whole", "continues": done}
    for route in ("/v1/videos", "/v1/videos/plan"):
        answer = client.post(route, json=body)
        assert refused(answer) == (400, "unknown_parameter")
        assert answer.json()["error"]["param"] == "continues"
    form = {"prompt": "a cat", **{f"continues[{name}]": value for name, value in done.items()}}
    assert refused(client.post("/v1/videos", data=form)) == (400, "unknown_parameter")


def test_a_preset_that_nothing_has_is_refused_with_the_plan(client: httpx.Client) -> None:
    answer = client.post("/v1/videos", json={"prompt": "a cat", "preset": "cinematic"})
    assert refused(answer) == (422, "nothing_fits")
    assert {way["code"] for way in answer.json()["plan"]["dropped"]} == {"preset_not_asked"}
    final = client.post("/v1/videos", json={"prompt": "a cat", "model": "echo", "preset": "prefix"})
    assert refused(final) == (422, "preview_only")
