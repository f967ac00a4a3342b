"""A load generator that costs little: keep-alive HTTP/1.1 on raw asyncio, parsed by httptools.

It shares the machine with what it measures, so what it takes itself is part of every figure, alike for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import httptools
from typing_extensions import override

TIMEOUT_S = 60


class BadAnswer(Exception):
    """A server answered what it should not have; the figures would mean nothing."""


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent: the address and the bytes."""

    host: str
    port: int
    data: bytes


@dataclass(frozen=True)
class Answer:
    """One answer: times in seconds since the request was sent, the length of the body in bytes.

    ``body`` holds the first 64 KiB.
    """

    status: int
    first_byte_s: float
    total_s: float
    length: int
    body: bytes


@dataclass(frozen=True)
class Load:
    """What so many clients measured together: each answer's milliseconds, and how long all of them took."""

    times_ms: tuple[float, ...]
    wall_s: float


def call(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"", content_type: str = ""
) -> Call:
    """Prepare a request to an ``http://host:port/path`` address."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    lines = [f"{method} {parts.path} HTTP/1.1", f"host: {parts.netloc}", "accept: */*"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
    return Call(parts.hostname, parts.port, "\r\n".join([*lines, "", ""]).encode() + body)


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    KEPT_BYTES = 64 * 1024

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._first_at = 0.0
        self._length = 0
        self._body = bytearray()

    async def ask(self, asked: Call) -> Answer:
        """Send the request and wait for the whole answer.

        Raises:
            BadAnswer: the connection broke, or the status is no 2xx.
            TimeoutError: there was none within a minute.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            await loop.create_connection(lambda: self, asked.host, asked.port)
        assert self._transport is not None
        self._begin()
        self._answered = loop.create_future()
        self._sent_at = perf_counter()
        self._transport.write(asked.data)
        watch = loop.call_later(TIMEOUT_S, self._break, TimeoutError(f"no answer within {TIMEOUT_S} s"))
        try:
            answer = await self._answered
        finally:
            watch.cancel()
        if not 200 <= answer.status < 300:
            raise BadAnswer(
                f"{asked.data.split(b' HTTP')[0].decode()}: {answer.status} {answer.body[:500]!r}"
            )
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._break(BadAnswer(f"the connection was lost before the answer was whole: {exc}"))

    def on_body(self, body: bytes) -> None:
        """A piece of the body, from the parser."""
        if not self._length:
            self._first_at = perf_counter()
        self._length += len(body)
        if len(self._body) < self.KEPT_BYTES:
            self._body += body[: self.KEPT_BYTES]

    def on_message_complete(self) -> None:
        """The end of the answer, from the parser."""
        now = perf_counter()
        first_at = self._first_at or now
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(
                Answer(
                    self._parser.get_status_code(),
                    first_at - self._sent_at,
                    now - self._sent_at,
                    self._length,
                    bytes(self._body),
                )
            )

    def _break(self, why: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(why)
            self.close()


async def ask(asked: Call) -> Answer:
    """One request on a connection of its own."""
    connection = Connection()
    try:
        return await connection.ask(asked)
    finally:
        connection.close()


async def ask_at_once(asked: Call, clients: int) -> Sequence[Answer]:
    """The same request from so many clients at the same time."""
    return await asyncio.gather(*(ask(asked) for _ in range(clients)))


async def load(asked: Call, clients: int, seconds: float) -> Load:
    """So many clients, each sending its next request when the last is answered.

    Each has its connection, and one answer that does not count, before the clock starts.
    """
    connections = [Connection() for _ in range(clients)]
    try:
        await asyncio.gather(*(connection.ask(asked) for connection in connections))
        start = perf_counter()
        times = await asyncio.gather(*(_repeat(one, asked, start + seconds) for one in connections))
        wall = perf_counter() - start
    finally:
        for connection in connections:
            connection.close()
    return Load(tuple(time for one in times for time in one), wall)


async def _repeat(connection: Connection, asked: Call, until: float) -> list[float]:
    times = []
    while perf_counter() < until:
        answer = await connection.ask(asked)
        times.append(answer.total_s * 1000)
    return times
