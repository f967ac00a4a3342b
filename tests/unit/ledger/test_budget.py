"""What is left of a month's budget: what is held counts, what is released does not, and months are UTC's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.ledger.budget import budget_left

from .conftest import NOON, Books

LAST_OF_NOVEMBER = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)
FIRST_OF_DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def frugal(books: Books) -> Books:
    """Books with a tenant ``frugal`` who may spend 1,000 micro-USD a month."""
    books.tenant("frugal", budget=1_000)
    return books


def _left(books: Books, at: datetime = NOON, tenant: str = "frugal") -> int | None:
    with books.db.write() as connection:
        plain = budget_left(connection, books.tenants[tenant], at)
        assert budget_left(connection, books.tenants[tenant], at, lock=True) == plain
    return plain


def test_without_a_budget_there_is_no_limit(frugal: Books) -> None:
    frugal.video(held=10**9)
    assert _left(frugal, tenant="acme") is None


def test_all_of_it_is_left_before_the_first_video(frugal: Books) -> None:
    assert _left(frugal) == 1_000


def test_an_open_hold_counts_whole(frugal: Books) -> None:
    frugal.video("frugal", held=300)
    assert _left(frugal) == 700


def test_of_a_completed_video_its_charge_counts(frugal: Books) -> None:
    frugal.complete(frugal.video("frugal", held=300), 120)
    assert _left(frugal) == 880


def test_a_failed_video_costs_nothing(frugal: Books) -> None:
    frugal.fail(frugal.video("frugal", held=300))
    assert _left(frugal) == 1_000


def test_the_provider_account_is_not_the_tenants_spending(frugal: Books) -> None:
    frugal.complete(frugal.video("frugal", held=300), 9_000)
    assert _left(frugal) == 700


def test_other_tenants_spend_their_own(frugal: Books) -> None:
    frugal.video("acme", held=300)
    assert _left(frugal) == 1_000


def test_a_budget_that_was_lowered_may_be_overdrawn(frugal: Books) -> None:
    frugal.video("frugal", held=1_300)
    assert _left(frugal) == -300


def test_the_month_begins_with_its_first_moment_in_utc(frugal: Books) -> None:
    frugal.video("frugal", held=300, at=LAST_OF_NOVEMBER)
    frugal.video("frugal", held=20, at=FIRST_OF_DECEMBER)
    assert _left(frugal, FIRST_OF_DECEMBER) == 980
    assert _left(frugal, LAST_OF_NOVEMBER) == 680


def test_it_is_the_utc_month_wherever_the_clock_stands(frugal: Books) -> None:
    frugal.video("frugal", held=300, at=LAST_OF_NOVEMBER)
    still_november = datetime(2026, 12, 1, 2, tzinfo=timezone(timedelta(hours=9)))
    assert _left(frugal, still_november) == 700
    already_december = datetime(2026, 11, 30, 20, tzinfo=timezone(timedelta(hours=-5)))
    assert _left(frugal, already_december) == 1_000


def test_what_is_released_after_the_months_end_is_not_given_to_the_next_month(frugal: Books) -> None:
    video = frugal.video("frugal", held=300, at=LAST_OF_NOVEMBER)
    frugal.fail(video)
    frugal.date(video, NOON, "release")
    assert _left(frugal) == 1_000
