"""No spelling of an address leads the gateway to one that is not public: counted where sockets connect."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.api.errors import ApiError
from gateway.api.pictures import check_images, fetch_images
from gateway.api.wire import SentImage
from gateway.kit.http import Hop, UnsafeUrl, download
from gateway.media import PublicOnly, fetch_result
from gateway.spec import ProviderError

from ._spellings import NAMES, spellings

PUBLIC, PRIVATE = "93.184.215.14", "127.0.0.1"


class Wire:
    """Every connection that is begun. Those to the outside fail there: tests have no network."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []

    def connect(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(sock: socket.socket, address: Any) -> Any:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                self.begun.append((str(address[0]), int(address[1])))
                if address[0] not in (PRIVATE, "::1"):
                    raise ConnectionRefusedError("no network in tests")
            return real(sock, address)

        return connect


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, found.connect(getattr(socket.socket, name)))
    return found


class Canaries:
    """Listeners on the loopback addresses: on a free port, and on those of http and https where allowed."""

    def __init__(self, stack: ExitStack) -> None:
        self._listening: list[socket.socket] = []
        self.port = self._listen(stack, socket.AF_INET, PRIVATE, 0)
        for family, host in ((socket.AF_INET, PRIVATE), (socket.AF_INET6, "::1")):
            for port in (80, 443, self.port):
                try:
                    self._listen(stack, family, host, port)
                except OSError:  # no right to that port, no IPv6, or taken: the wire counts all the same
                    continue

    def _listen(self, stack: ExitStack, family: int, host: str, port: int) -> int:
        listening = stack.enter_context(socket.socket(family))
        listening.bind((host, port))
        listening.listen()
        listening.setblocking(False)
        self._listening.append(listening)
        return int(listening.getsockname()[1])

    def visits(self) -> int:
        """How many connections came since the last count."""
        count = 0
        for listening in self._listening:
            while True:
                try:
                    visitor, _ = listening.accept()
                except BlockingIOError:
                    break
                visitor.close()
                count += 1
        return count


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    with ExitStack() as stack:
        yield Canaries(stack)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, Iterator[Sequence[str]]]:
    """In place of the name service: ``NAMES``, what a test adds, and numbers as the system reads them."""
    known: dict[str, Iterator[Sequence[str]]] = {name: cycle([found]) for name, found in NAMES.items()}

    async def getaddrinfo(loop: object, host: str, port: int, **_: object) -> list[Any]:
        answers = known.get(host.removesuffix(".").lower())
        if answers is not None:
            return [(0, 0, 0, "", (address, port)) for address in next(answers)]
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


class Redirects:
    """An allowed store that redirects: ``/2/7`` over ``/1/7`` and ``/0/7`` to the target with number 7."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets, self.origin = targets, ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        if wanted := re.fullmatch(r"/(\d)/(\d+)", path):
            more, number = int(wanted[1]), int(wanted[2])
            to = f"/{more - 1}/{number}" if more else self.targets[number]
            writer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + to.encode() + b"\r\n\r\n")
        else:  # a spelling that is a relative address led back here
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def redirects(canaries: Canaries) -> AsyncIterator[Redirects]:
    found = Redirects(spellings(canaries.port))
    server = await asyncio.start_server(found.answer, PRIVATE, 0)
    found.origin = f"http://{PRIVATE}:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield found


async def as_result(url: str, origin: str, folder: Path) -> None:
    with pytest.raises(ProviderError):
        await fetch_result(url, folder / "clip.mp4", allowed_origins=[origin], deadline_s=10)


async def as_image(url: str, origin: str, folder: Path) -> None:
    sent = [SentImage(role="first_frame", param="input_reference", source=url)]
    with pytest.raises(ApiError) as caught:
        check_images(await fetch_images(sent, origins=[origin], max_bytes=99, max_total=99), max_bytes=99)
    assert (caught.value.status, caught.value.param) == (400, "input_reference")
    assert caught.value.code in ("image_url_unsafe", "image_url_unreachable", "image_format_unsupported")


CHANNELS: dict[str, tuple[Callable[[str, str, Path], Awaitable[None]], int | None]] = {
    "result URL": (as_result, None),
    "input image": (as_image, None),
    "redirect, hop 1": (as_result, 0),
    "redirect, hop 2": (as_image, 1),
    "redirect, hop 3": (as_result, 2),
}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.usefixtures("resolver")
async def test_no_spelling_is_followed(
    channel: str, wire: Wire, canaries: Canaries, redirects: Redirects, tmp_path: Path
) -> None:
    fetch, redirected = CHANNELS[channel]
    assert len(redirects.targets) >= 150
    for number, spelling in enumerate(redirects.targets):
        url = spelling if redirected is None else f"{redirects.origin}/{redirected}/{number}"
        await fetch(url, redirects.origin, tmp_path)
    own = ("127.0.0.1", int(redirects.origin.rsplit(":", 1)[1]))
    elsewhere = [address for address in wire.begun if address != own]
    visits = canaries.visits()
    print(
        f"\n{channel}: {len(redirects.targets)} spellings, {len(wire.begun) - len(elsewhere)} connections to"
        f" the allowed origin, {len(elsewhere)} to any other address, {visits} seen by the canaries"
    )
    assert (elsewhere, visits) == ([], 0)


async def test_the_counters_count(wire: Wire, canaries: Canaries) -> None:
    """What the table relies on: where nothing is refused, both see the connection."""

    class Anybody:
        def check_url(self, hop: Hop) -> None: ...

        def check_addresses(self, hop: Hop, addresses: Sequence[str]) -> None: ...

    async def take(chunk: bytes) -> None: ...

    for host in (PRIVATE, "[::1]"):
        url = f"http://{host}:{canaries.port}/"
        with pytest.raises(ProviderError):
            await download(url, take, guard=Anybody(), headers={}, max_bytes=9, deadline_s=0.2)
    assert wire.begun == [(PRIVATE, canaries.port), ("::1", canaries.port)]
    assert canaries.visits() == 2


async def lookup(guard: PublicOnly, url: str) -> type[ProviderError]:
    async def take(chunk: bytes) -> None:
        raise AssertionError("nothing can be fetched here")

    with pytest.raises(ProviderError) as caught:
        await download(url, take, guard=guard, headers={}, max_bytes=9, deadline_s=10)
    return type(caught.value)


async def test_a_name_that_changes_its_mind_is_dialled_where_it_was_checked(
    wire: Wire, canaries: Canaries, resolver: dict[str, Iterator[Sequence[str]]]
) -> None:
    resolver["rebinding.example"] = cycle(
        [[PUBLIC], [PRIVATE], [PUBLIC, "::1"], ["::1"], ["::ffff:127.0.0.1"]]
    )
    found = [await lookup(PublicOnly(), "https://rebinding.example/") for _ in range(20)]
    assert [kind is UnsafeUrl for kind in found] == [False, True, True, True, True] * 4
    assert wire.begun == [(PUBLIC, 443)] * 4
    assert canaries.visits() == 0


async def test_a_redirect_to_the_same_name_is_checked_anew(
    wire: Wire, canaries: Canaries, redirects: Redirects, resolver: dict[str, Iterator[Sequence[str]]]
) -> None:
    """The first lookup leads to the operator's store; the second, after its redirect, elsewhere."""
    port = redirects.origin.rsplit(":", 1)[1]
    named = f"http://store.example:{port}"
    redirects.targets = ["https://store.example/x"]
    resolver["store.example"] = iter([[PRIVATE], [PRIVATE]])
    assert await lookup(PublicOnly([named]), f"{named}/0/0") is UnsafeUrl
    assert wire.begun == [(PRIVATE, int(port))]
    assert canaries.visits() == 0
