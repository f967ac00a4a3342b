"""Many connections to one provider, without httpcore's price for many."""

from __future__ import annotations

import ssl
from itertools import count

import httpx
from typing_extensions import override

_EACH = 4


class Pools(httpx.AsyncBaseTransport):
    """At most so many ``connections``, in pools of four; one more pool is opened when all others are in use.

    For each request httpcore compares all connections of a pool with each other, twice: with sixteen of them
    that takes as long as the request itself. What finds all pools full waits in one of them.
    """

    def __init__(self, connections: int, verify: ssl.SSLContext) -> None:
        self._most = max(1, connections // _EACH)
        self._verify = verify
        self._pools: list[httpx.AsyncHTTPTransport] = []
        self._turns = count()

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._choose().handle_async_request(request)

    @override
    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def _choose(self) -> httpx.AsyncHTTPTransport:
        """The first with room: what was used last is likely to be still connected."""
        for pool in self._pools:
            if _has_room(pool):
                return pool
        if len(self._pools) == self._most:
            return self._pools[next(self._turns) % self._most]
        limits = httpx.Limits(max_connections=_EACH)
        self._pools.append(httpx.AsyncHTTPTransport(verify=self._verify, limits=limits, trust_env=False))
        return self._pools[-1]


def _has_room(pool: httpx.AsyncHTTPTransport) -> bool:
    connections = pool._pool.connections  # httpx passes nothing of it on
    return len(connections) < _EACH or any(connection.is_idle() for connection in connections)
