"""Connections in small pools: as many at once as is said, and kept for the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.kit.http import client


class Server:
    """Answers each request once ``go`` is set; counts connections and requests."""

    def __init__(self) -> None:
        self.connections = self.open = self.asked = 0
        self.go = asyncio.Event()
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._count(opened=1)
        with suppress(asyncio.IncompleteReadError):  # the client hangs up
            while await reader.readuntil(b"\r\n\r\n"):
                await self._count(asked=1)
                await self.go.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()
        await writer.wait_closed()
        await self._count(opened=-1)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _count(self, *, opened: int = 0, asked: int = 0) -> None:
        async with self._changed:
            self.open += opened
            self.asked += asked
            self._changed.notify_all()


async def test_as_many_calls_at_once_as_connections_and_the_next_wait() -> None:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    http = client(base_url=f"http://127.0.0.1:{port}", connections=8)
    async with asyncio.timeout(10), listening:
        calls = [asyncio.create_task(http.get("/")) for _ in range(11)]
        await server.until(lambda: server.asked >= 8)
        server.go.set()
        replies = await asyncio.gather(*calls)
        assert [reply.status_code for reply in replies] == [200] * 11
        assert server.connections == 8

        for _ in range(3):
            await http.get("/")
        assert server.connections == 8, "what is connected is used again"
        await http.aclose()
        await server.until(lambda: server.open == 0)
