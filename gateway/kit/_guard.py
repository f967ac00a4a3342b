"""Who may be dialled when an address came from outside: public addresses only, checked when dialling.

A check of the name before the request leaves a gap, in which the name can change its mind (DNS rebinding).
Here the name is resolved once, every answer is checked, and the checked address is what is dialled; TLS still
verifies the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
from typing_extensions import override

from gateway.spec import UnexpectedReply

_HTTPS = 443

# Python's is_global calls some of these public, though they wrap an IPv4 address that need not be (NAT64,
# 6to4, Teredo, IPv4-compatible), were once site-local, or are for documentation only
_NOT_PUBLIC = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
        "fec0::/10",
        "3fff::/20",
    )
)


class UnsafeUrl(UnexpectedReply):
    """A URL from outside points where the gateway must not go."""

    code = "unsafe_url"


def is_public(address: str) -> bool:
    """True if a numeric IPv4 or IPv6 address is one that anybody on the internet could reach."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.scope_id is not None or any(ip in network for network in _NOT_PUBLIC):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Dials https on public addresses, and nothing else."""

    def __init__(self) -> None:
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
        if port != _HTTPS:
            raise UnsafeUrl(f"A result URL names port {port} of {host}; only {_HTTPS} is fetched from.")
        address = await _checked(host, port)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

    @override
    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise UnsafeUrl("A result URL may not name a local socket.")


def public_pool(tls: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """A connection pool that can only reach https on public addresses."""
    return httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=PublicOnly())


async def _checked(host: str, port: int) -> str:
    """The first address of ``host``, if all of them are public: one private answer spoils the name."""
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved") from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in answers]
    private = [address for address in addresses if not is_public(address)]
    if private or not addresses:
        raise UnsafeUrl(
            "A result URL points to an address that is not public.",
            operator_detail=f"{host} resolves to {', '.join(private) or 'nothing'}. If it is your own store,"
            " allow its exact origin.",
        )
    return addresses[0]
