"""The guarded download: every URL that came from outside is fetched by it, and by nothing else.

Who may be reached is not decided here but by a :class:`Guard`, which is asked twice for each hop: about the
URL before its name is resolved, and about the addresses before one of them is dialled. A check of the name
before the request would leave a gap, in which the name can change its mind (DNS rebinding). Here the name is
resolved once, and the address that was checked is the one that is dialled; TLS still verifies the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import httpcore
import httpx
from typing_extensions import override

from gateway.kit._reply import retry_after
from gateway.kit.http._calls import bare, tls
from gateway.spec import RateLimited, Unavailable, UnexpectedReply

_MAX_REDIRECTS = 3
_CHUNK = 1024 * 1024
_MAX_DIALS = 3
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_PORTS = {"http": 80, "https": 443}

Take: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of what is fetched, at most 1 MiB."""


class UnsafeUrl(UnexpectedReply):
    """A URL from outside points where the gateway must not go."""

    code = "unsafe_url"


class TooLong(UnexpectedReply):
    """There is more at the URL than is accepted."""


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Where a request is about to go, as it was parsed and will be dialled; ``host`` is lower-case ASCII."""

    scheme: str
    host: str
    port: int
    userinfo: bool

    @property
    def origin(self) -> str:
        """``https://cdn.example``, with the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Guard(Protocol):
    """Who may be reached. Both raise :class:`UnsafeUrl`, and are asked anew for every redirect."""

    def check_url(self, hop: Hop) -> None:
        """Before the name is resolved."""
        ...

    def check_addresses(self, hop: Hop, addresses: Sequence[str]) -> None:
        """Before one of the name's ``addresses``, numeric, is dialled; there may be none."""
        ...


def origin_of(url: str) -> str:
    """The origin of a URL, spelled as :attr:`Hop.origin` spells it.

    Raises:
        UnsafeUrl: it is no http or https URL.
    """
    return _hop(_parsed(url)).origin


async def download(
    url: str, take: Take, *, guard: Guard, headers: Mapping[str, str], max_bytes: int, deadline_s: float
) -> int:
    """Fetch a URL that came from outside, hand its bytes to ``take`` as they come, and return how many.

    At most three redirects are followed; ``headers`` go to the first URL's own origin only. ``deadline_s``
    bounds the whole. What was taken before an error is the caller's to throw away, and to verify after
    success: only the length is checked here.

    Raises:
        UnsafeUrl: it leads where ``guard`` does not let it.  TooLong: over ``max_bytes``.
        Unavailable, RateLimited: worth another try.  UnexpectedReply: gone or refused.
        Further errors: what ``take`` raises.
    """
    target = _parsed(url)
    try:
        async with asyncio.timeout(deadline_s) as scope:
            return await _walk(target, take, guard, headers, max_bytes)
    except TimeoutError:
        if not scope.expired():
            raise
        raise _unfetched(target, f"it was not finished within {deadline_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last: a redirect to such a name
        # the last URL may differ from the first, and neither httpx's text nor the query is fit for a log
        raise _unfetched(target, type(error).__name__) from None


async def _walk(
    target: httpx.URL, take: Take, guard: Guard, headers: Mapping[str, str], max_bytes: int
) -> int:
    home = _hop(target).origin
    for _ in range(_MAX_REDIRECTS + 1):
        hop = _hop(target)
        guard.check_url(hop)
        sent = {**(headers if hop.origin == home else {}), "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(transport=_transport(hop, guard), timeout=_TIMEOUT, trust_env=False) as one_hop,
            one_hop.stream("GET", target, headers=sent) as response,
        ):
            if response.next_request is None:
                _check_answer(response, max_bytes)
                return await _receive(response, take, max_bytes)
            target = response.next_request.url
    raise UnexpectedReply(f"The file at {_host(target)} redirects more than {_MAX_REDIRECTS} times.")


class _Dialler(httpcore.AsyncNetworkBackend):
    """Dials for one hop, and only what its guard has seen."""

    def __init__(self, hop: Hop, guard: Guard) -> None:
        self._hop, self._guard = hop, guard
        self._inner = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await _resolve(host, port)
        self._guard.check_addresses(self._hop, addresses)
        failed: Exception = httpcore.ConnectError("the name has no address")
        # of a name with addresses of both kinds, this machine may have a route to one kind only
        for address in addresses[:_MAX_DIALS]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    @override
    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise UnsafeUrl("An address from outside may not name a local socket.")


async def _resolve(host: str, port: int) -> list[str]:
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name cannot be resolved") from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))


def _transport(hop: Hop, guard: Guard) -> httpx.AsyncHTTPTransport:
    transport = httpx.AsyncHTTPTransport(verify=tls(), trust_env=False)
    # httpx has no public way to set a network backend; tests/unit/kit/test_download.py watches this one
    transport._pool = httpcore.AsyncConnectionPool(ssl_context=tls(), network_backend=_Dialler(hop, guard))
    return transport


def _check_answer(response: httpx.Response, max_bytes: int) -> None:
    status, url = response.status_code, response.request.url
    if status == 429:
        wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        raise RateLimited(
            f"{_host(url)} takes no more calls for now: fetch the file later.", retry_after=wait
        )
    if status == 408 or status >= 500:
        raise _unfetched(url, f"HTTP {status}")
    if status != 200:
        raise UnexpectedReply(
            f"The file at {_host(url)} is not to be had (HTTP {status}): it may have expired.",
            operator_detail=f"HTTP {status} to GET {bare(url)}",
        )
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnexpectedReply(f"The file at {_host(url)} came compressed, unasked.")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_long(url, max_bytes)


async def _receive(response: httpx.Response, take: Take, max_bytes: int) -> int:
    size = 0
    async for chunk in response.aiter_raw(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise _too_long(response.request.url, max_bytes)
        await take(chunk)
    return size


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise UnsafeUrl("The address is not a URL.") from None
    return parsed


def _hop(url: httpx.URL) -> Hop:
    if not url.raw_host or url.scheme not in _PORTS:
        raise UnsafeUrl("The address is not an http or https one.")
    port = url.port if url.port is not None else _PORTS[url.scheme]
    return Hop(scheme=url.scheme, host=_host(url), port=port, userinfo=bool(url.userinfo))


def _host(url: httpx.URL) -> str:
    # not url.host, which decodes what claims to be an international name, and fails where it is none
    return url.raw_host.decode("ascii")


def _unfetched(url: httpx.URL, why: str) -> Unavailable:
    return Unavailable(
        f"The file at {_host(url)} could not be fetched ({why}). Try again later.",
        operator_detail=f"GET {bare(url)}: {why}",
    )


def _too_long(url: httpx.URL, max_bytes: int) -> TooLong:
    return TooLong(f"The file at {_host(url)} is longer than the {max_bytes:,} bytes that are accepted.")
