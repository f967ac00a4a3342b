"""Wan on random test weights behind the whole gateway: looked at early, finished, watched on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.kit.testing import decode
from gateway.ledger.verify import verify_ledger

from .conftest import Server, running

MODEL = {
    "model": "wan-2.2-t2v-a14b-tiny",
    "prompt": "a paper boat",
    "size": "64x64",
    "seconds": "1",
    "seed": 7,
}


@pytest.fixture(scope="module")
def server(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(module_database_url, folder, plugins=("wan_local",), preview_every_s=0.001) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def made(server: Server, client: httpx.Client, path: str = "", **body: Any) -> dict[str, Any]:
    response = client.post(f"/v1/videos{path}", json=body)
    assert response.status_code == 200, response.text
    video = server.finished(response.json()["id"])
    assert video["status"] == "completed", video["error"]
    return video


def content(client: httpx.Client, video: dict[str, Any]) -> bytes:
    return client.get(f"/v1/videos/{video['id']}/content").raise_for_status().content


def test_a_prefix_preview_continued_is_the_clip_made_at_once(server: Server, client: httpx.Client) -> None:
    whole = content(client, made(server, client, **MODEL, preset="official"))
    shown = made(server, client, **MODEL, mode="preview", preset="prefix")
    assert shown["gateway"]["continuable"] is True
    final = made(server, client, f"/{shown['id']}/continue")
    assert content(client, final) == whole
    assert content(client, shown) != whole
    notes = {note["code"]: note["detail"] for note in final["gateway"]["notes"]}
    assert notes["resumed"] == "went on after step 2 of 4 of the preview"
    assert "restarted" not in notes
    assert decode(whole).frames == decode(content(client, shown)).frames == 17
    with server.runtime.db.read() as connection:
        assert verify_ledger(connection) == []


def test_a_render_shows_pictures_while_it_runs_and_keeps_none(server: Server, client: httpx.Client) -> None:
    video = made(server, client, **MODEL, preset="official")
    lines = client.get(f"/v1/videos/{video['id']}/events").text.split("\n\n")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in lines if block]
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
    previews = [json.loads(event["data"]) for event in events if event["event"] == "video.preview"]
    assert len(previews) == 4, "one after each step"
    assert {preview["image"] for preview in previews} == {None}
    assert {preview["stage"] for preview in previews} == {"denoise"}
    assert not list(server.runtime.store.keys(f"checkpoints/{video['id']}"))
