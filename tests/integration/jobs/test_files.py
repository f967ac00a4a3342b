"""A finished video's files on both kinds of store: served with ranges, by key and by signed URL."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.signing import SignedFile, sign
from gateway.db.keys import create_key, create_tenant
from gateway.db.tables import artefacts
from gateway.jobs.control import delete_video
from gateway.jobs.render import render
from gateway.jobs.settle import _fetch_and_store, settle
from gateway.jobs.submit import submit
from gateway.kit.testing import decode
from gateway.media import StoreError
from gateway.spec import Device

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")


@pytest.fixture
def world(request: pytest.FixtureRequest, backend: str, make_world: Callable[..., World]) -> World:
    if backend == "sqlite":  # each kind of store with one kind of database: neither knows of the other
        return make_world()
    s3 = request.getfixturevalue("s3")
    return make_world(store_url=f"s3://{s3.bucket}/{time.time_ns()}", store_options=s3.options())


@pytest.fixture
def video_id(world: World) -> str:
    """A finished video."""
    made = world.accept(model="echo", size="64x64", seconds="1")
    attempt = world.attempt(made)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)
    return made


@pytest.fixture
def public(world: World) -> TestClient:
    """A client without a key."""
    return TestClient(create_app(world.runtime))


@pytest.fixture
def client(world: World) -> TestClient:
    """A client with the tenant's key."""
    with world.runtime.db.write() as connection:
        key = create_key(connection, world.runtime.pepper, world.caller.tenant_id, name="files")
    return TestClient(create_app(world.runtime), headers={"authorization": f"Bearer {key.secret}"})


def test_a_render_is_completed_recorded_and_served(
    world: World, video_id: str, client: TestClient, tmp_path: Any
) -> None:
    assert world.video(video_id).status == "completed"
    assert world.problems() == []
    with world.runtime.db.read() as connection:
        rows = connection.execute(sa.select(artefacts).where(artefacts.c.video_id == video_id)).all()
    assert {row.variant for row in rows} == {"video", "thumbnail", "spritesheet"}
    stored = {entry.key: entry.bytes for entry in world.runtime.store.keys(f"videos/{video_id}")}
    assert stored == {row.key: row.bytes for row in rows}, "an orphan, or a row without its object"
    url = f"/v1/videos/{video_id}/content"
    whole = client.get(url)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(whole.content)
    assert decode(clip).frames == 16
    (row,) = (row for row in rows if row.variant == "video")
    assert (whole.headers["etag"], int(whole.headers["content-length"])) == (f'"{row.sha256}"', row.bytes)
    part = client.get(url, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, whole.content[4:8])
    assert client.get(url, headers={"range": f"bytes={row.bytes}-"}).status_code == 416
    assert client.head(url).headers["content-length"] == str(row.bytes)
    two = client.get(url, headers={"range": "bytes=0-1,4-5"})
    assert two.headers["content-type"].startswith("multipart/byteranges")


def test_a_remote_result_is_stored_there_too(world: World) -> None:
    video_id = world.accept(model="echo-remote")
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    world.update(attempt.id, state="fetching", snapshot=None)
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    keys = [entry.key for entry in world.runtime.store.keys(f"videos/{video_id}")]
    assert len(keys) == 3


def test_settling_again_after_a_crash_finds_what_is_there(world: World, video_id: str) -> None:
    attempt = world.attempt(video_id)
    before = sorted(entry.key for entry in world.runtime.store.keys(""))
    delivery = _fetch_and_store(world.runtime, attempt, world.runtime.scratch)
    assert sorted(stored.key for _, _, stored in delivery.files) == before


def test_a_signed_url_needs_no_key(client: TestClient, public: TestClient, video_id: str) -> None:
    asked = client.post(f"/v1/videos/{video_id}/url")
    assert asked.status_code == 200, asked.text
    reply = asked.json()
    assert reply["object"] == "video.url"
    assert abs(reply["expires_at"] - time.time() - 3600) < 60
    assert reply["url"].startswith("http://testserver/v1/files/")
    whole = client.get(f"/v1/videos/{video_id}/content")
    shown = public.get(reply["url"])
    assert (shown.status_code, shown.content) == (200, whole.content)
    assert shown.headers["cache-control"] == "private"
    for name in ("etag", "content-disposition", "content-type", "last-modified"):
        assert shown.headers[name] == whole.headers[name]
    part = public.get(reply["url"], headers={"range": "bytes=-3"})
    assert (part.status_code, part.content) == (206, whole.content[-3:])
    head = public.head(reply["url"])
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))
    assert public.get(reply["url"], headers={"if-none-match": whole.headers["etag"]}).status_code == 304


def test_a_signed_url_names_its_variant_and_its_time(
    client: TestClient, public: TestClient, video_id: str
) -> None:
    body = {"variant": "thumbnail", "expires_in": 60}
    reply = client.post(f"/v1/videos/{video_id}/url", json=body).json()
    assert abs(reply["expires_at"] - time.time() - 60) < 30
    assert public.get(reply["url"]).headers["content-type"] == "image/webp"
    for wrong in ({"expires_in": 59}, {"expires_in": 604_801}, {"variant": "audio"}, {"expires": 60}):
        refused = client.post(f"/v1/videos/{video_id}/url", json=wrong)
        assert refused.status_code == 400, wrong
        assert refused.json()["error"]["param"] in wrong
    for body_text, code in (("{", "invalid_json"), ("[]", "invalid_type")):
        refused = client.post(
            f"/v1/videos/{video_id}/url", content=body_text, headers={"content-type": "application/json"}
        )
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, code, "body")


def test_a_file_that_fails_in_the_middle_logs_no_token(
    world: World,
    client: TestClient,
    public: TestClient,
    video_id: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = client.post(f"/v1/videos/{video_id}/url").json()["url"]

    async def broken(*args: Any) -> AsyncIterator[bytes]:
        yield b"x"
        raise StoreError("gone")

    monkeypatch.setattr(world.runtime.store, "stream", broken)
    with pytest.raises(RuntimeError, match="already started"):
        public.get(url)
    assert "/v1/files/{token} failed" in caplog.text
    assert url.rpartition("/")[2] not in caplog.text


def test_only_the_owner_of_a_finished_video_gets_a_url(
    world: World, client: TestClient, public: TestClient, video_id: str
) -> None:
    with world.runtime.db.write() as connection:
        stranger = create_tenant(connection, "other", "basic")
        key = create_key(connection, world.runtime.pepper, stranger, name="other")
    url = f"/v1/videos/{video_id}/url"
    assert public.post(url).status_code == 401
    other = public.post(url, headers={"authorization": f"Bearer {key.secret}"})
    assert (other.status_code, other.json()["error"]["code"]) == (404, "video_not_found")
    waiting = world.accept(model="echo", size="64x64", seconds="1")
    early = client.post(f"/v1/videos/{waiting}/url")
    assert (early.status_code, early.json()["error"]["code"]) == (404, "video_not_ready")


def test_forged_unknown_expired_and_deleted(
    world: World, client: TestClient, public: TestClient, video_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    pepper, later = world.runtime.pepper, int(time.time()) + 100
    url = client.post(f"/v1/videos/{video_id}/url").json()["url"]
    forged = public.get(f"/v1/files/{sign(b'guess', SignedFile(video_id, 'video', later))}")
    unknown = public.get(f"/v1/files/{sign(pepper, SignedFile('video_' + 'x' * 26, 'video', later))}")
    assert (forged.status_code, forged.json()["error"]["code"]) == (404, "file_not_found")
    assert (unknown.status_code, unknown.content) == (404, forged.content)
    expired = public.get(f"/v1/files/{sign(pepper, SignedFile(video_id, 'video', int(time.time())))}")
    assert (expired.status_code, expired.json()["error"]["code"]) == (410, "url_expired")
    delete_video(world.runtime, world.caller, video_id)
    gone = public.get(url)
    assert (gone.status_code, gone.content) == (404, forged.content)
    assert url.rpartition("/")[2] not in caplog.text


def test_the_public_url_of_the_settings_comes_first(make_world: Callable[..., World]) -> None:
    world = make_world(public_url="https://video.example/gateway/")
    made = world.accept(model="echo", size="64x64", seconds="1")
    attempt = world.attempt(made)
    render(world.runtime, attempt.id, SLOT)
    settle(world.runtime, attempt.id)
    with world.runtime.db.write() as connection:
        key = create_key(connection, world.runtime.pepper, world.caller.tenant_id, name="files")
    client = TestClient(create_app(world.runtime), headers={"authorization": f"Bearer {key.secret}"})
    reply = client.post(f"/v1/videos/{made}/url").json()
    assert reply["url"].startswith("https://video.example/gateway/v1/files/")
