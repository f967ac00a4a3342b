"""Who hears how far loading is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Called with what is read, the bytes done and the bytes in all, from the thread that asked for the work.

What is read is "hash" for all files while their sums are compared, and then a part such as "transformer".
"""


def unheard(_what: str, _done: int, _total: int) -> None:
    """Nobody listens."""
