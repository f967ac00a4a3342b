from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.testclient import TestClient

from gateway.api.app import _told
from gateway.api.content import _matches, stored_file
from gateway.api.errors import ApiError
from gateway.jobs.records import Artefact
from gateway.media import Store

BODY = bytes(range(100))
VIDEO = "video_1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def client(store: Store) -> TestClient:
    """Serves one stored file, and an empty one."""
    app = FastAPI()
    app.add_exception_handler(ApiError, _told)

    @app.api_route("/{name}", methods=["GET", "HEAD"])
    def clip(request: Request, name: str) -> Response:
        stored = store.put(name, BODY if name == "clip" else b"")
        artefact = Artefact(
            variant="video",
            key=name,
            sha256="e",
            bytes=stored.bytes,
            media_type="video/mp4",
            deleted=False,
        )
        return stored_file(request, store, VIDEO, artefact, cache="private")

    return TestClient(app)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-9", 206, BODY[:10]),
        ("bytes=90-", 206, BODY[90:]),
        ("bytes=-5", 206, BODY[-5:]),
        ("bytes=-500", 206, BODY),
        ("bytes=90-1000", 206, BODY[90:]),
        ("bytes=0-9,5-20,21-30", 206, BODY[:31]),
        ("bytes=5-3", 200, BODY),
        ("lines=1-2", 200, BODY),
        ("bytes=abc", 200, BODY),
        ("bytes=" + "9" * 5000 + "-", 200, BODY),
        ("bytes=" + ",".join(["0-0"] * 200), 200, BODY),
        ("bytes=100-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=0-1,500-", 416, None),
    ],
)
def test_ranges(client: TestClient, asked: str, status: int, body: bytes | None) -> None:
    response = client.get("/clip", headers={"range": asked})
    assert response.status_code == status
    if body is not None:
        assert response.content == body
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["content-length"] == str(len(body))
    else:
        assert response.headers["content-range"] == "bytes */100"
        assert response.json()["error"]["code"] == "range_not_satisfiable"
    head = client.head("/clip", headers={"range": asked})
    assert (head.status_code, head.content) == (status, b"")
    assert head.headers["content-length"] == response.headers["content-length"]


def test_two_ranges_come_as_parts(client: TestClient) -> None:
    response = client.get("/clip", headers={"range": "bytes=0-1,50-51"})
    assert response.status_code == 206
    kind, _, boundary = response.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    first, second = (
        f"content-type: video/mp4\r\ncontent-range: bytes {span}/100\r\n\r\n".encode()
        for span in ("0-1", "50-51")
    )
    line = f"--{boundary}".encode()
    assert response.content == (
        line
        + b"\r\n"
        + first
        + BODY[:2]
        + b"\r\n"
        + line
        + b"\r\n"
        + second
        + BODY[50:52]
        + b"\r\n"
        + line
        + b"--"
    )
    assert response.headers["content-length"] == str(len(response.content))


def test_a_range_of_another_version_is_the_whole_file(client: TestClient) -> None:
    headers = {"range": "bytes=0-9", "if-range": '"other"'}
    assert client.get("/clip", headers=headers).content == BODY
    whole = client.get("/clip", headers=headers | {"if-range": 'W/"e"'})
    assert whole.content == BODY
    for same in ('"e"', whole.headers["last-modified"]):
        assert client.get("/clip", headers=headers | {"if-range": same}).content == BODY[:10]


def test_an_empty_file_has_no_range(client: TestClient) -> None:
    assert client.get("/empty").content == b""
    assert client.get("/empty", headers={"range": "bytes=0-"}).status_code == 416


def test_the_headers_name_the_file_and_its_version(client: TestClient) -> None:
    headers = client.get("/clip").headers
    assert headers["content-disposition"] == 'attachment; filename="video_1.mp4"'
    assert (headers["etag"], headers["accept-ranges"], headers["cache-control"]) == (
        '"e"',
        "bytes",
        "private",
    )
    same = client.get("/clip", headers={"if-none-match": '"e"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"e"')


def test_a_file_that_the_store_lost_is_gone_before_a_byte_is_sent(client: TestClient, store: Store) -> None:
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/lost/clip")
    def lost(request: Request) -> Response:
        artefact = Artefact(
            variant="video", key="lost", sha256="e", bytes=3, media_type="video/mp4", deleted=False
        )
        return stored_file(request, store, VIDEO, artefact, cache="private")

    response = client.get("/lost/clip")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "content_missing")


@pytest.mark.parametrize(
    ("header", "same"),
    [
        ('"e"', True),
        ('W/"e"', True),
        ('"a", "e"', True),
        ("*", True),
        ('"a"', False),
        ("", False),
        ("e", False),
    ],
)
def test_if_none_match(header: str, same: bool) -> None:
    assert _matches(header, '"e"') is same
