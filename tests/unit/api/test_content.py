from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.api.content import StoredFile, _judge_range, _matches

BODY = bytes(range(100))


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """Serves one stored file."""
    path = tmp_path / "clip"
    path.write_bytes(BODY)
    app = FastAPI()

    @app.get("/clip")
    def clip() -> StoredFile:
        return StoredFile(path, media_type="video/mp4", stat_result=path.stat(), headers={"etag": '"e"'})

    return TestClient(app)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-9", 206, BODY[:10]),
        ("bytes=90-", 206, BODY[90:]),
        ("bytes=-5", 206, BODY[-5:]),
        ("bytes=90-1000", 206, BODY[90:]),
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
    else:
        assert response.headers["content-range"] == "bytes */100"
        assert response.json()["error"]["code"] == "range_not_satisfiable"


def test_two_ranges_come_as_parts(client: TestClient) -> None:
    response = client.get("/clip", headers={"range": "bytes=0-1,50-51"})
    assert response.status_code == 206
    assert response.headers["content-type"].startswith("multipart/byteranges")


def test_a_range_of_another_version_is_the_whole_file(client: TestClient) -> None:
    headers = {"range": "bytes=0-9", "if-range": '"other"'}
    assert client.get("/clip", headers=headers).content == BODY
    assert client.get("/clip", headers=headers | {"if-range": '"e"'}).content == BODY[:10]


def test_an_empty_file_has_no_range() -> None:
    assert _judge_range("bytes=0-", 0) == "outside"


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
