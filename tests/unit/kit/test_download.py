"""The guarded download: where it goes, what it sends there, how much it takes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import pytest
from typing_extensions import override

from gateway.kit.http import TooLong, UnsafeUrl, download, origin_of
from gateway.media import PublicOnly
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


async def get(url: str, *, origins: Sequence[str] = (), **given: Any) -> bytes:
    held = bytearray()

    async def take(chunk: bytes) -> None:
        held.extend(chunk)

    usual: dict[str, Any] = {"headers": {}, "max_bytes": 1000, "deadline_s": 10}
    size = await download(url, take, guard=PublicOnly(origins), **{**usual, **given})
    assert size == len(held)
    return bytes(held)


async def test_a_file_from_an_allowed_origin_is_handed_over(store: Store) -> None:
    store.answers["/v.mp4"] = giving(b"x" * 900)
    assert await get(f"{store.origin}/v.mp4?sig=1", origins=[store.origin]) == b"x" * 900
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
async def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(UnsafeUrl):
        await get(f"https://{host}/v.mp4")


async def test_no_connection_is_made_before_the_refusal(store: Store) -> None:
    port = store.origin.rsplit(":", 1)[1]
    for url in (store.origin, f"https://127.0.0.1:{port}", f"http://localhost:{port}"):
        with pytest.raises(UnsafeUrl):
            await get(url, origins=["https://127.0.0.1", "http://127.0.0.1:1"])
    assert store.seen == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/x", "data:video/mp4,x", "//a", "v.mp4"]
)
async def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        await get(url)


async def test_credentials_in_the_url_are_refused_and_not_shown() -> None:
    with pytest.raises(UnsafeUrl) as caught:
        await get("https://user:hunter22@a.example/v")
    assert "hunter22" not in caught.value.operator_detail + caught.value.caller_detail


async def test_one_private_answer_spoils_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(self: object, host: str, port: int, **kwargs: object) -> Any:
        found = asyncio.get_running_loop().create_future()
        found.set_result([(0, 0, 0, "", ("93.184.215.14", port)), (0, 0, 0, "", ("10.0.0.1", port))])
        return found

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", both)
    with pytest.raises(UnsafeUrl) as caught:
        await get("https://rebinding.example/v?token=s3cret")
    assert "10.0.0.1" in caught.value.operator_detail
    assert "s3cret" not in caught.value.operator_detail


async def test_the_checked_address_is_the_one_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    async def resolve(self: object, host: str, port: int, **kwargs: object) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]

    async def refuse(self: object, host: str, port: int, *args: object) -> Any:
        dialled.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", refuse)
    with pytest.raises(OSError, match="no network in tests"):
        await get("https://store.example/v")
    assert dialled == ["93.184.215.14"]


async def test_another_address_of_the_name_is_dialled_if_the_first_is_silent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(store.origin.rsplit(":", 1)[1])
    dial = httpcore.AnyIOBackend.connect_tcp
    dialled: list[str] = []

    async def resolve(self: object, host: str, port: int, **kwargs: object) -> Any:
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.3", "127.0.0.2", "127.0.0.1")]

    async def connect(self: Any, host: str, port: int, *args: Any) -> Any:
        dialled.append(host)
        if host != "127.0.0.1":
            raise httpcore.ConnectError
        return await dial(self, host, port, *args)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    store.answers["/v"] = giving(b"clip")
    origin = f"http://store.example:{port}"
    assert await get(f"{origin}/v", origins=[origin]) == b"clip"
    assert dialled == ["127.0.0.3", "127.0.0.2", "127.0.0.1"]


async def test_a_name_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(self: object, *args: object, **kwargs: object) -> Any:
        return []

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(Unavailable):
        await get("https://store.example/v")


async def test_each_redirect_is_checked(store: Store, stores: Callable[[], Store]) -> None:
    inside = stores()
    for target in (inside.origin, "https://127.0.0.1/", "http://93.184.215.14/", "file:///etc/passwd"):
        store.answers["/v"] = redirecting(target)
        with pytest.raises(UnsafeUrl):
            await get(f"{store.origin}/v", origins=[store.origin])
    assert inside.seen == []


@pytest.mark.parametrize("location", ["https://xn--a/", "https://[::1/", "https://a.example:x/"])
async def test_a_redirect_to_no_url_is_named(store: Store, location: str) -> None:
    store.answers["/v"] = redirecting(location)
    with pytest.raises(Unavailable):
        await get(f"{store.origin}/v", origins=[store.origin])


async def test_headers_stay_with_the_first_origin(store: Store, stores: Callable[[], Store]) -> None:
    other = stores()
    store.answers["/v"] = redirecting("/w")
    store.answers["/w"] = redirecting(f"{other.origin}/x")
    other.answers["/x"] = giving(b"clip")
    await get(
        f"{store.origin}/v",
        headers={"Authorization": "Bearer k"},
        origins=[store.origin, other.origin],
    )
    assert [headers.get("authorization") for _, headers in store.seen] == ["Bearer k", "Bearer k"]
    assert "authorization" not in other.seen[0][1]


@pytest.mark.parametrize(("redirects", "fetched"), [(3, True), (4, False)])
async def test_three_redirects_are_followed(store: Store, redirects: int, fetched: bool) -> None:
    for index in range(redirects):
        store.answers[f"/{index}"] = redirecting(f"/{index + 1}")
    store.answers[f"/{redirects}"] = giving(b"clip")
    if fetched:
        assert await get(f"{store.origin}/0", origins=[store.origin]) == b"clip"
        return
    with pytest.raises(UnexpectedReply, match="redirects"):
        await get(f"{store.origin}/0", origins=[store.origin])


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
        (giving(b"x" * 1001), TooLong),
        (endless, TooLong),
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
async def test_a_bad_answer_is_named(store: Store, answer: Answer, expected: type[ReelgateError]) -> None:
    store.answers["/v"] = answer
    with pytest.raises(ReelgateError) as caught:
        await get(f"{store.origin}/v?sig=s3cret", origins=[store.origin])
    assert type(caught.value) is expected
    assert "s3cret" not in caught.value.operator_detail + caught.value.caller_detail


async def test_the_deadline_bounds_a_slow_store(store: Store) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x")
        store.closing.wait(20)

    store.answers["/v"] = stall
    with pytest.raises(Unavailable, match=r"0\.2 s"):
        await get(f"{store.origin}/v", origins=[store.origin], deadline_s=0.2)


async def test_what_the_taker_raises_is_not_taken_for_the_deadline(store: Store) -> None:
    async def take(chunk: bytes) -> None:
        raise TimeoutError("the taker's own")

    store.answers["/v"] = giving(b"clip")
    guard = PublicOnly([store.origin])
    with pytest.raises(TimeoutError, match="own"):
        await download(f"{store.origin}/v", take, guard=guard, headers={}, max_bytes=9, deadline_s=10)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://CDN.example:443/v?sig=1", "https://cdn.example"),
        ("http://10.0.0.5:9000/", "http://10.0.0.5:9000"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_spelled_in_one_way(url: str, origin: str) -> None:
    assert origin_of(url) == origin
