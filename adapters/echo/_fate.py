"""Which jobs are to go wrong."""

from __future__ import annotations

import zlib


def meets(tag: str, every: int) -> bool:
    """True for one tag in ``every``.

    The tag decides, not a counter: the adapter keeps no state, and an attempt that is run again after a
    crash meets the same fate.
    """
    return zlib.crc32(tag.encode()) % every == 0
