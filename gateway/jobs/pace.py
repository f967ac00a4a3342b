"""How fast one process submits to a provider account.

Counted in memory: several processes that submit to one account send as many times as much between them. Where
that is too much, one process is given the account's queue (``reelgate worker --queues``).
"""

from __future__ import annotations

import time
from fractions import Fraction
from functools import cache

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from gateway.db.accounts import Key

LONGEST_WINDOW_S = 60


class TooSoon(Exception):
    """The account's provider takes no further submit yet, but in ``wait_s`` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Pace:
    """The submits of this process, by account."""

    def __init__(self) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def take_turn(self, account: Key, per_s: float) -> None:
        """Count one submit to this account.

        Raises:
            TooSoon: it would be one too many; it is not counted.
        """
        allowed = _allowed(per_s)
        if not self._window.hit(allowed, *account):
            until = self._window.get_window_stats(allowed, *account).reset_time
            raise TooSoon(max(0.01, until - time.time()))


@cache
def _allowed(per_s: float) -> RateLimitItem:
    """So many in so many whole seconds: 0.1 is one in ten, 1.5 three in two."""
    share = Fraction(per_s).limit_denominator(LONGEST_WINDOW_S)
    if share == 0:
        return RateLimitItemPerSecond(1, round(1 / per_s))
    return RateLimitItemPerSecond(share.numerator, share.denominator)
