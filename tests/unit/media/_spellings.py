"""Ways to write an address that the gateway must not reach, or a URL that it must not follow."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

LOOPBACK, METADATA = "127.0.0.1", "169.254.169.254"
INSIDE = (LOOPBACK, METADATA, "10.0.0.1", "192.168.1.1")
NAMES = {
    "localhost": (LOOPBACK, "::1"),
    "localhost.localdomain": (LOOPBACK,),
    "app.localhost": (LOOPBACK,),
    "ip6-localhost": ("::1",),
    "127.0.0.1.wildcard.example": (LOOPBACK,),
    "metadata.cloud.internal": (METADATA,),
    "instance-data": (METADATA,),
    "kubernetes.default.svc": ("10.96.0.1",),
    "db.internal": ("172.16.3.4",),
    "v6.internal": ("fd00::1",),
    "linklocal.internal": ("fe80::1%2",),
    "mapped.internal": ("::ffff:10.0.0.1",),
    "nat64.internal": ("64:ff9b::a00:1",),
    "mixed.example": ("93.184.215.14", LOOPBACK),
    "mixed-last.example": ("2606:4700::1111", "93.184.215.14", "::1"),
    "xn--e1afmkfd.internal": ("10.0.0.9",),
    "public.example": ("93.184.215.14",),
}
"""What the tests' resolver knows; numeric hosts it reads as the system does."""

_IDEOGRAPHIC_STOP, _FULL_STOP, _HALF_STOP = "\u3002", "\uff0e", "\uff61"


def spellings(port: int) -> list[str]:
    """Each once; ``port`` is one that somebody listens on."""
    found = [f"https://{host}/x" for host in _hosts()]
    found += [f"http://{host}/x" for host in (*INSIDE, *NAMES, "[::1]")]
    found += [
        f"https://{host}:{port}/x" for host in (LOOPBACK, "localhost", "[::1]", "0", "127.1", "2130706433")
    ]
    return list(dict.fromkeys([*found, *_syntax(port), *_schemes(port)]))


def _hosts() -> Iterator[str]:
    for address in INSIDE:
        yield from _as_numbers(IPv4Address(address))
        yield from _in_ipv6(IPv4Address(address))
    yield from (name for name in NAMES if name != "public.example")
    yield from (
        "LOCALHOST",
        "LocalHost.",
        "localhost..",
        "Metadata.Cloud.Internal",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "пример.internal",
    )
    yield from ("0", "0.0.0.0", "0x0", "00000000", "127.255.255.254", "127.0.1", "127.00000.1", "0x7F.0.0.1")
    yield from ("100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.88.99.1")
    yield from ("224.0.0.1", "255.255.255.255", "240.0.0.1", "172.31.255.255")
    yield from ("[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::FFFF:7F00:1]")
    yield from (
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::1%25lo]",
        "[::1%lo]",
        "[fd00:ec2::254]",
    )
    yield from ("[fc00::1]", "[fec0::1]", "[ff02::1]", "[100::1]", "[2001:db8::1]", "[3fff::1]")
    yield from (
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::a00:1]",
        "[2001:10::1]",
        "[2001:2::1]",
        "[v1.fe80::1]",
        "[]",
    )


def _as_numbers(address: IPv4Address) -> Iterator[str]:
    """What ``inet_aton`` takes, and what only looks as if."""
    a, b, c, d = address.packed
    whole = int(address)
    yield from (
        str(address),
        str(whole),
        hex(whole),
        f"0X{whole:X}",
        f"0{whole:o}",
        f"000{whole:o}",
        f"0x00{whole:x}",
    )
    yield from (f"{a}.{whole & 0xFFFFFF}", f"{a}.{b}.{c << 8 | d}", f"{a}.0x{whole & 0xFFFFFF:x}")
    yield f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"000{a:o}.{b}.{c:#x}.{d}"
    yield from (f"{address}.", f"{whole}.", f"{a + 256}.{b}.{c}.{d}", str(whole + 2**32))
    text = str(address)
    yield from (text.replace(".", stop) for stop in (_IDEOGRAPHIC_STOP, _FULL_STOP, _HALF_STOP, "%2e"))
    yield "".join(chr(0xFF10 + int(sign)) if sign.isdecimal() else sign for sign in text)
    yield "".join(chr(0x245F + int(sign)) if sign in "123456789" else sign for sign in text)
    yield "".join(f"%{ord(sign):02x}" for sign in text)


def _in_ipv6(address: IPv4Address) -> Iterator[str]:
    """As the IPv6 address that wraps it: mapped, compatible, translated, NAT64, 6to4, Teredo."""
    high, low = int(address) >> 16, int(address) & 0xFFFF
    yield from (f"[::ffff:{address}]", f"[::ffff:{high:x}:{low:x}]", f"[0:0:0:0:0:ffff:{high:x}:{low:x}]")
    yield from (f"[::{address}]", f"[::ffff:0:{high:x}:{low:x}]", f"[64:ff9b::{address}]")
    yield from (f"[2002:{high:x}:{low:x}::1]", f"[2001:0:{high:x}:{low:x}::1]")
    yield f"[2001:0:4136:e378:8000:63bf:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}]"


def _syntax(port: int) -> Iterator[str]:
    """What one reader of URLs takes for another host than the next does."""
    for at in (LOOPBACK, METADATA, f"{LOOPBACK}:{port}"):
        yield f"https://public.example@{at}/x"
        yield f"https://public.example:443@{at}/x"
        yield f"https://public.example%40{at}/x"
        yield f"https://public.example\\@{at}/x"
        yield f"https://{at}\\@public.example:1/x"
        yield f"https://{at}#@public.example/x"
        yield f"https://{at}?@public.example/x"
        yield f"https://{at}%00.public.example/x"
        yield f"https://{at}%09/x"
        yield f"https://{at}\t/x"
        yield f"https://{at}\n/x"
        yield f"https://{at} /x"
        yield f"https:\\\\{at}\\x"
        yield f"https:/\\{at}/x"
        yield f"https:////{at}/x"
        yield f"https:///{at}/x"
        yield f"https:{at}/x"
        yield f"HTTPS://{at}/x"
        yield f"ht\ttps://{at}/x"
        yield f" https://{at}/x"
        yield f"\thttps://{at}/x"
        yield f"https://{at};public.example:1/x"
        yield f"https://{at},public.example:1/x"
    yield from ("https://user:password@public.example/x", "https://@127.0.0.1/x", "https://:@localhost/x")
    yield from ("https://public.example:22/x", "https://public.example:80/x", "https://public.example:0/x")
    yield from (
        "https://public.example:65536/x",
        "https://public.example:-1/x",
        "https://public.example:4 43/x",
    )
    yield from ("https://127.0.0.1:443:443/x", "https://[::1]:80:443/x", "https://[::1/x", "https://::1/x")
    yield from (
        "https://",
        "https:///",
        "https://./x",
        "https://../x",
        "https://%/x",
        "https://?/x",
        "https://*/x",
    )
    yield from (
        f"https://{'a' * 64}.example/x",
        f"https://{'a.' * 140}example/x",
        "https://xn--a/x",
        "https://-a-/x",
    )


def _schemes(port: int) -> Iterator[str]:
    for scheme in (
        "http",
        "HTTP",
        "ws",
        "wss",
        "ftp",
        "gopher",
        "dict",
        "ldap",
        "tftp",
        "sftp",
        "smb",
        "jar",
        "blob",
    ):
        yield f"{scheme}://{LOOPBACK}:{port}/x"
    yield from ("http://public.example/x", "http://public.example:443/x", "http+unix://%2Frun%2Fx.sock/x")
    yield from (
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "unix:/run/x.sock",
        "javascript:alert(1)",
    )
    yield from ("//127.0.0.1/x", "///127.0.0.1/x", "\\\\127.0.0.1\\x", "about:blank", "data:video/mp4,x")
    yield from ("url:https://127.0.0.1/x", "view-source:https://127.0.0.1/x", "s3://bucket/x", "https")
