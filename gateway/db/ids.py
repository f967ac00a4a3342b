"""Ids: a prefix and a UUIDv7 (RFC 9562 section 5.7) in Crockford base32, so that they sort by time."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOCK = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return ``<prefix>_<26 characters>``, greater than any this process made before."""
    return _text(prefix, _uuid7())


def first_id(prefix: str, at: datetime) -> str:
    """What is smaller than every id of this prefix made from ``at`` on, and greater than any before."""
    return _text(prefix, int(at.timestamp() * 1000) << 80)


def _text(prefix: str, value: int) -> str:
    digits = [ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def _uuid7() -> int:
    global _last  # the clock of a process-wide sequence
    with _LOCK:
        # 48 bits of milliseconds and 12 of sub-millisecond time (RFC 9562 section 6.2, method 3)
        ticks = time.time_ns() * 4096 // 1_000_000
        _last = max(_last + 1, ticks)
        ticks = _last
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0b10 << 62 | random
