"""Input images that are named by address: fetched at accept, once, and checked like those that are sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from PIL import Image
from typing_extensions import override

from gateway.db.tables import videos

SMALL = {"model": "echo", "seconds": "1", "size": "64x36", "prompt": "a cat"}


class Shelf:
    """An operator's store of images on a loopback port; ``seen`` has every path that was asked for."""

    def __init__(self) -> None:
        shelf = self
        self.files: dict[str, bytes] = {}
        self.seen: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

            def do_GET(self) -> None:
                shelf.seen.append(self.path)
                body = shelf.files.get(self.path.partition("?")[0])
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def shelf() -> Iterator[Shelf]:
    found = Shelf()
    found.files["/a.png"] = png()
    found.files["/b.png"] = png("navy")
    found.files["/page.html"] = b"<!doctype html>"
    found.files["/large.png"] = png() + bytes(2_000_000)
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(sqlite: Any, shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from .conftest import running  # the package's own fixtures start one without a store of images

    with (
        sqlite.new() as url,
        running(url, tmp_path_factory.mktemp("s"), image_origins=(shelf.origin,)) as found,
    ):
        yield found


@pytest.fixture
def client(server: Any, shelf: Shelf) -> Iterator[httpx.Client]:
    shelf.seen.clear()
    with server.client() as client:
        yield client


def png(colour: str = "orange") -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def total(client: httpx.Client) -> int:
    return len(client.get("/v1/videos?limit=100").json()["data"])


FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda url: {"json": {**SMALL, "input_reference": url}},
    "object": lambda url: {"json": {**SMALL, "input_reference": {"image_url": url}}},
    "list": lambda url: {"json": {**SMALL, "images": [{"role": "first_frame", "image_url": url}]}},
    "form": lambda url: {
        "files": {name: (None, value) for name, value in {**SMALL, "input_reference[image_url]": url}.items()}
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_an_address_counts_as_what_lies_there(
    server: Any, client: httpx.Client, shelf: Shelf, form: str
) -> None:
    url = f"{shelf.origin}/a.png?sig=s3cret"
    named = client.post("/v1/videos", **FORMS[form](url))
    assert named.status_code == 200, named.text
    sent = client.post("/v1/videos", data=SMALL, files={"input_reference": ("a.png", png())})
    ids = [named.json()["id"], sent.json()["id"]]
    assert len({server.runtime.store.read(f"inputs/{video_id}/0.png") for video_id in ids}) == 1
    assert shelf.seen == ["/a.png?sig=s3cret"]
    assert server.finished(ids[0])["status"] == "completed"
    with server.runtime.db.read() as connection:
        row = connection.execute(sa.select(videos).where(videos.c.id == ids[0])).one()
    assert "s3cret" not in str(row)


def test_a_plan_looks_at_the_picture_too(client: httpx.Client, shelf: Shelf) -> None:
    planned = client.post("/v1/videos/plan", json={**SMALL, "input_reference": f"{shelf.origin}/a.png"})
    assert planned.json()["chosen"]["model"] == "echo"
    assert shelf.seen == ["/a.png"]


def test_a_replay_fetches_nothing(client: httpx.Client, shelf: Shelf) -> None:
    def post(path: str) -> httpx.Response:
        body = {**SMALL, "input_reference": shelf.origin + path}
        return client.post("/v1/videos", json=body, headers={"idempotency-key": "pictures"})

    first, second = post("/a.png"), post("/a.png")
    assert first.json() == second.json()
    assert ("idempotent-replayed" in first.headers, "idempotent-replayed" in second.headers) == (False, True)
    assert shelf.seen == ["/a.png"]
    other = post("/b.png")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert shelf.seen == ["/a.png"]


def test_a_replay_decodes_nothing(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def post() -> httpx.Response:
        files = {"input_reference": ("a.png", png())}
        return client.post("/v1/videos", data=SMALL, files=files, headers={"idempotency-key": "file"})

    first = post()
    assert first.status_code == 200
    monkeypatch.setattr("gateway.api.videos.check_images", None)
    assert post().json() == first.json()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("{shelf}/gone.png", "image_url_unreachable"),
        ("{shelf}/page.html", "image_format_unsupported"),
        ("{shelf}/large.png", "image_too_large"),
        ("http://127.0.0.1:1/a.png", "image_url_unsafe"),
        ("https://127.0.0.1/a.png", "image_url_unsafe"),
        ("http://user:s3cret@{host}/a.png", "image_url_unsafe"),
        ("http://93.184.215.14/a.png", "image_url_unsafe"),
        ("https://93.184.215.14:22/a.png", "image_url_unsafe"),
        ("ftp://93.184.215.14/a.png", "image_format_unsupported"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/plan"])
def test_an_address_that_will_not_do_is_refused_by_its_field(
    client: httpx.Client, shelf: Shelf, url: str, code: str, path: str
) -> None:
    before = total(client)
    whole = url.format(shelf=shelf.origin, host=shelf.origin.removeprefix("http://")) + "?sig=s3cret"
    refused = client.post(path, json={**SMALL, "images": [{"role": "first_frame", "image_url": whole}]})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, code, "images[0]")
    assert "s3cret" not in refused.text
    assert total(client) == before


def test_the_operator_is_told_why(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/v1/videos/plan", json={**SMALL, "input_reference": "https://127.0.0.1/a.png?sig=s3cret"})
    assert "127.0.0.1 resolves to 127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text
