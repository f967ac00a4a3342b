"""Who may be reached by a URL from outside: anybody on the public internet, by https, and nobody else.

The one set of rules for every such URL, be it a provider's or a caller's; ``gateway.kit.http`` asks them at
each hop and dials nothing that they have not seen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence

from gateway.kit.http import Hop, UnsafeUrl, origin_of

_HTTPS_PORT = 443

# Python calls some of these global, in one version or another
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments, and a cloud's metadata
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # a cloud's own agent, answered on every machine there
    )
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them, which holds an IPv4 address
        "2001:db8::/32",  # documentation, as is 3fff::/20
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """True if a numeric IPv4 or IPv6 address is one that anybody on the internet could reach."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        refused = any(ip in network for network in _NOT_PUBLIC_V4)
        return ip.is_global and not ip.is_multicast and not ip.is_reserved and not refused
    if ip.ipv4_mapped is not None:
        return is_public(str(ip.ipv4_mapped))
    # all else that wraps an IPv4 address (NAT64, IPv4-compatible) lies outside of the unicast block
    outside = ip.scope_id is not None or ip not in _UNICAST_V6
    return ip.is_global and not outside and not any(ip in network for network in _NOT_PUBLIC_V6)


class PublicOnly:
    """Lets https through to public addresses, and all to the exact ``origins`` that the operator names."""

    def __init__(self, origins: Collection[str] = ()) -> None:
        self._origins = frozenset(origin_of(origin) for origin in origins)

    def check_url(self, hop: Hop) -> None:
        """Refuse what no address could make right.

        Raises:
            UnsafeUrl: a user or password, another scheme than https, another port than 443.
        """
        if hop.userinfo:
            raise UnsafeUrl(f"The address at {hop.host} carries a user or password.")
        if hop.origin in self._origins:
            return
        if hop.scheme != "https":
            raise UnsafeUrl(f"The address at {hop.host} is not https.", operator_detail=_advice(hop))
        if hop.port != _HTTPS_PORT:
            raise UnsafeUrl(
                f"The address at {hop.host} names port {hop.port}; only {_HTTPS_PORT} is fetched from.",
                operator_detail=_advice(hop),
            )

    def check_addresses(self, hop: Hop, addresses: Sequence[str]) -> None:
        """Refuse a name unless all its addresses are public: one that is not spoils it.

        Raises:
            UnsafeUrl: as above.
        """
        private = [address for address in addresses if not is_public(address)]
        if private and hop.origin not in self._origins:
            raise UnsafeUrl(
                f"The address at {hop.host} does not lead to the public internet.",
                operator_detail=f"{hop.host} resolves to {', '.join(private)}. {_advice(hop)}",
            )


def _advice(hop: Hop) -> str:
    return f"{hop.origin} is refused. If it is your own store, allow this exact origin in the settings."
