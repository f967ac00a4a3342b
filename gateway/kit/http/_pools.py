"""Many connections to one provider, without httpcore's price for many."""

from __future__ import annotations

import ssl
from itertools import count

import httpx
from typing_extensions import override


class Pools(httpx.AsyncBaseTransport):
    """At most so many ``connections``, each in a pool of its own, opened when all others are in use.

    For each request httpcore compares all connections of a pool with each other, and asks the system about
    those that are idle, twice: with sixteen of them that takes as long as the request itself. What finds all
    in use waits for one of them.
    """

    def __init__(self, connections: int, verify: ssl.SSLContext) -> None:
        self._most = connections
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
        """The first that is free: what was used last is likely to be still connected."""
        for pool in self._pools:
            if _is_free(pool):
                return pool
        if len(self._pools) == self._most:
            return self._pools[next(self._turns) % self._most]
        limits = httpx.Limits(max_connections=1)
        self._pools.append(httpx.AsyncHTTPTransport(verify=self._verify, limits=limits, trust_env=False))
        return self._pools[-1]


def _is_free(pool: httpx.AsyncHTTPTransport) -> bool:
    return all(connection.is_idle() for connection in pool._pool.connections)  # httpx passes nothing of it on
