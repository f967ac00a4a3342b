"""The guarded download: where it goes, what it sends there, how much it takes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from gateway.kit._guard import is_public
from gateway.kit.http import UnsafeUrl, download
from gateway.spec import RateLimited, ReelgateError, Unavailable, UnexpectedReply

Answer = Callable[[BaseHTTPRequestHandler], None]


class Store:
    """A server on a loopback port; ``answers`` maps a path to what it does, ``seen`` keeps the headers."""

    def __init__(self) -> None:
        store = self
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

            def do_GET(self) -> None:
                store.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                store.answers[self.path.split("?")[0]](self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stores() -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def build() -> Store:
        opened.append(Store())
        return opened[-1]

    yield build
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: Callable[[], Store]) -> Store:
    return stores()


def giving(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirecting(location: str) -> Answer:
    return giving(b"", 302, Location=location)


async def get(url: str, to: Path, **given: Any) -> int:
    usual: dict[str, Any] = {"headers": {}, "max_bytes": 1000, "allowed_origins": (), "deadline_s": 10}
    return await download(url, to, **{**usual, **given})


async def test_a_result_from_an_allowed_origin_is_saved(store: Store, tmp_path: Path) -> None:
    store.answers["/v.mp4"] = giving(b"x" * 900)
    size = await get(f"{store.origin}/v.mp4?sig=1", tmp_path / "v", allowed_origins=[store.origin])
    assert size == 900
    assert (tmp_path / "v").read_bytes() == b"x" * 900
    assert store.seen[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ],
)
async def test_addresses_that_are_not_public_are_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeUrl):
        await get(f"https://{host}/v.mp4", tmp_path / "v")
    assert not (tmp_path / "v").exists()


async def test_no_connection_is_made_before_the_refusal(store: Store, tmp_path: Path) -> None:
    port = store.origin.rsplit(":", 1)[1]
    for url in (store.origin, f"https://127.0.0.1:{port}", f"http://localhost:{port}"):
        with pytest.raises(UnsafeUrl):
            await get(url, tmp_path / "v", allowed_origins=["https://127.0.0.1", "http://127.0.0.1:1"])
    assert store.seen == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/x", "data:video/mp4,x", "//a", "v.mp4"]
)
async def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeUrl):
        await get(url, tmp_path / "v")


async def test_credentials_in_the_url_are_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(UnsafeUrl) as caught:
        await get("https://user:hunter22@a.example/v", tmp_path / "v")
    assert "hunter22" not in caught.value.operator_detail + caught.value.caller_detail


async def test_one_private_answer_spoils_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(self: object, host: str, port: int, **kwargs: object) -> Any:
        found = asyncio.get_running_loop().create_future()
        found.set_result([(0, 0, 0, "", ("93.184.215.14", port)), (0, 0, 0, "", ("10.0.0.1", port))])
        return found

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    with pytest.raises(UnsafeUrl) as caught:
        await get("https://rebinding.example/v?token=s3cret", tmp_path / "v")
    assert "10.0.0.1" in caught.value.operator_detail
    assert "s3cret" not in caught.value.operator_detail


async def test_the_checked_address_is_the_one_dialled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[str] = []

    async def resolve(self: object, host: str, port: int, **kwargs: object) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]

    async def refuse(self: object, host: str, port: int, *args: object) -> Any:
        dialled.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", refuse)
    with pytest.raises(OSError, match="no network in tests"):
        await get("https://store.example/v", tmp_path / "v")
    assert dialled == ["93.184.215.14"]


async def test_each_redirect_is_checked(store: Store, stores: Callable[[], Store], tmp_path: Path) -> None:
    inside = stores()
    for target in (inside.origin, "https://127.0.0.1/", "http://93.184.215.14/", "file:///etc/passwd"):
        store.answers["/v"] = redirecting(target)
        with pytest.raises(UnsafeUrl):
            await get(f"{store.origin}/v", tmp_path / "v", allowed_origins=[store.origin])
    assert inside.seen == []


async def test_headers_stay_with_the_first_origin(
    store: Store, stores: Callable[[], Store], tmp_path: Path
) -> None:
    other = stores()
    store.answers["/v"] = redirecting("/w")
    store.answers["/w"] = redirecting(f"{other.origin}/x")
    other.answers["/x"] = giving(b"clip")
    await get(
        f"{store.origin}/v",
        tmp_path / "v",
        headers={"Authorization": "Bearer k"},
        allowed_origins=[store.origin, other.origin],
    )
    assert [headers.get("authorization") for _, headers in store.seen] == ["Bearer k", "Bearer k"]
    assert "authorization" not in other.seen[0][1]


@pytest.mark.parametrize(("redirects", "fetched"), [(3, True), (4, False)])
async def test_three_redirects_are_followed(
    store: Store, tmp_path: Path, redirects: int, fetched: bool
) -> None:
    for index in range(redirects):
        store.answers[f"/{index}"] = redirecting(f"/{index + 1}")
    store.answers[f"/{redirects}"] = giving(b"clip")
    if fetched:
        assert await get(f"{store.origin}/0", tmp_path / "v", allowed_origins=[store.origin]) == 4
        return
    with pytest.raises(UnexpectedReply, match="redirects"):
        await get(f"{store.origin}/0", tmp_path / "v", allowed_origins=[store.origin])


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65_536)
    except OSError:  # the reader has had enough
        return


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "900")
    handler.end_headers()
    handler.wfile.write(b"x" * 400)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (giving(b"x" * 1001), UnexpectedReply),
        (endless, UnexpectedReply),
        (cut_short, Unavailable),
        (giving(b"x", Content_Encoding="gzip"), UnexpectedReply),
        (giving(b"", 403), UnexpectedReply),
        (giving(b"", 404), UnexpectedReply),
        (giving(b"", 206), UnexpectedReply),
        (giving(b"", 408), Unavailable),
        (giving(b"", 429), RateLimited),
        (giving(b"", 503), Unavailable),
    ],
)
async def test_a_bad_answer_is_named_and_leaves_no_file(
    store: Store, tmp_path: Path, answer: Answer, expected: type[ReelgateError]
) -> None:
    store.answers["/v"] = answer
    with pytest.raises(ReelgateError) as caught:
        await get(f"{store.origin}/v?sig=s3cret", tmp_path / "v", allowed_origins=[store.origin])
    assert type(caught.value) is expected
    assert "s3cret" not in caught.value.operator_detail + caught.value.caller_detail
    assert not (tmp_path / "v").exists()


async def test_the_deadline_bounds_a_slow_store(store: Store, tmp_path: Path) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x")
        store.closing.wait(20)

    store.answers["/v"] = stall
    with pytest.raises(Unavailable, match=r"0\.2 s"):
        await get(f"{store.origin}/v", tmp_path / "v", allowed_origins=[store.origin], deadline_s=0.2)
    assert not (tmp_path / "v").exists()


PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1"),
    *("192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "fc00::1", "fe80::1", "fe80::1%lo", "fec0::1"),
    *("ff02::1", "100::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
