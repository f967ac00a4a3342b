"""How long a provider wishes to be left alone, as its error carries it."""

from __future__ import annotations

import math

import pytest

from gateway.spec import RateLimited


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, None),
        (3.0, 3.0),
        (0.0, 0.0),
        (1e18, 86_400.0),
        (-1.0, None),
        (math.nan, None),
        (math.inf, None),
    ],
)
def test_a_senseless_wish_is_none_and_a_long_one_a_day(asked: float | None, kept: float | None) -> None:
    assert RateLimited("too many", retry_after=asked).retry_after == kept
