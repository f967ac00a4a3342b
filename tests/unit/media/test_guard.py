"""Which addresses are public, and what else a URL from outside must be."""

from __future__ import annotations

import pytest

from gateway.kit.http import Hop, UnsafeUrl
from gateway.media import PublicOnly, is_public

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::8a", "::ffff:8.8.8.8"]
NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.0.1", "168.63.129.16"),
    *("192.0.0.9", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1"),
    *(
        "2001::1",
        "2001:0:7f00:1::",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
    ),
    *("3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "fec0::1"),
    *("2606:4700::1111%eth0", "ff02::1", "ff0e::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def hop(scheme: str = "https", host: str = "cdn.example", port: int = 443, *, userinfo: bool = False) -> Hop:
    return Hop(scheme=scheme, host=host, port=port, userinfo=userinfo)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (hop("http", port=80), "is not https"),
        (hop("http", port=443), "is not https"),
        (hop(port=8443), "names port 8443"),
        (hop(port=0), "names port 0"),
        (hop(userinfo=True), "user or password"),
    ],
)
def test_a_url_is_refused_before_its_name_is_resolved(wrong: Hop, words: str) -> None:
    with pytest.raises(UnsafeUrl, match=words):
        PublicOnly().check_url(wrong)


def test_https_to_public_addresses_is_let_through() -> None:
    guard = PublicOnly()
    guard.check_url(hop())
    guard.check_addresses(hop(), ["93.184.215.14", "2606:4700::1111"])


def test_one_private_address_spoils_a_name_and_only_the_operator_is_told_which() -> None:
    with pytest.raises(UnsafeUrl) as caught:
        PublicOnly().check_addresses(hop(), ["93.184.215.14", "10.0.0.7"])
    assert "10.0.0.7" in caught.value.operator_detail
    assert "10.0.0.7" not in caught.value.caller_detail


@pytest.mark.parametrize("named", ["http://10.0.0.5:9000", "HTTP://10.0.0.5:9000/"])
def test_an_origin_of_the_operators_may_be_anywhere_but_is_exact(named: str) -> None:
    guard = PublicOnly([named])
    own = hop("http", "10.0.0.5", 9000)
    guard.check_url(own)
    guard.check_addresses(own, ["10.0.0.5"])
    for near in (hop("https", "10.0.0.5", 9000), hop("http", "10.0.0.5", 80), hop("http", "10.0.0.6", 9000)):
        with pytest.raises(UnsafeUrl):
            guard.check_url(near)
    with pytest.raises(UnsafeUrl):
        guard.check_addresses(hop(host="10.0.0.5"), ["10.0.0.5"])
    with pytest.raises(UnsafeUrl, match="user or password"):
        guard.check_url(hop("http", "10.0.0.5", 9000, userinfo=True))


def test_what_is_no_origin_is_no_rule() -> None:
    with pytest.raises(UnsafeUrl):
        PublicOnly(["10.0.0.5:9000"])
