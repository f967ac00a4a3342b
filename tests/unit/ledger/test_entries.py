"""Entries: each is written once, never below zero, and never takes more than was held."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from gateway.ledger.entries import (
    Parties,
    charge_and_release,
    held_micro_usd,
    hold,
    provider_actual,
    provider_estimate,
    provider_void,
    release,
)

from .conftest import Books

Write = Callable[[sa.Connection, Parties], object]

WRITES: dict[str, Write] = {
    "hold": lambda connection, one: hold(connection, one, 1),
    "charge and release": lambda connection, one: charge_and_release(connection, one, 40, "1"),
    "release": release,
    "actual": lambda connection, one: provider_actual(connection, one, 1, "1"),
    "estimate": lambda connection, one: provider_estimate(connection, one, 1, "1"),
    "void": provider_void,
}


@pytest.mark.parametrize("case", WRITES)
def test_no_entry_can_be_written_twice(books: Books, case: str) -> None:
    video = books.video()
    write = WRITES[case]

    def again() -> None:
        with books.db.write() as connection:
            write(connection, video)

    if case not in ("hold", "estimate"):  # those two are written with every video
        again()
    with pytest.raises(sa.exc.IntegrityError, match=r"ledger_entries[._]subject"):
        again()


def test_what_was_released_cannot_be_charged_and_nothing_of_the_try_is_left(books: Books) -> None:
    video = books.video()
    books.fail(video)
    with pytest.raises(sa.exc.IntegrityError), books.db.write() as connection:
        charge_and_release(connection, video, 40, "1")
    with pytest.raises(sa.exc.NoResultFound):
        books.entry(video, "charge")


@pytest.mark.parametrize("price", [0, 1, 99, 100])
def test_the_price_is_charged_and_the_rest_released(books: Books, price: int) -> None:
    video = books.video(held=100)
    with books.db.write() as connection:
        assert charge_and_release(connection, video, price, "v7") == price
    charge = books.entry(video, "charge")
    assert (charge.amount_micro_usd, charge.price_version, charge.detail) == (price, "v7", {})
    assert books.entry(video, "release").amount_micro_usd == 100 - price


def test_a_price_above_the_hold_is_absorbed_and_said(books: Books) -> None:
    video = books.video(held=100)
    with books.db.write() as connection:
        assert charge_and_release(connection, video, 130, "1") == 100
    assert books.entry(video, "charge").detail == {"absorbed_micro_usd": 30}
    assert books.entry(video, "release").amount_micro_usd == 0


def test_a_failure_releases_the_whole_hold(books: Books) -> None:
    video = books.video(held=100)
    with books.db.write() as connection:
        assert held_micro_usd(connection, video.video_id) == 100
        release(connection, video)
    assert books.entry(video, "release").amount_micro_usd == 100


def test_each_attempt_has_a_cost_of_its_own(books: Books) -> None:
    first = books.video()
    second = books.attempt("acme", first.video_id, number=2)
    with books.db.write() as connection:
        provider_void(connection, first)
        provider_actual(connection, second, 7, "1")
    assert books.entry(first, "void").attempt_id == first.attempt_id
    assert books.entry(first, "actual").attempt_id == second.attempt_id


def test_the_two_accounts_do_not_mix(books: Books) -> None:
    video = books.video()
    books.complete(video, 40)
    accounts = {kind: books.entry(video, kind).account for kind in ("hold", "charge", "release")}
    assert set(accounts.values()) == {"tenant"}
    assert {books.entry(video, kind).account for kind in ("estimate", "actual")} == {"provider"}
    with pytest.raises(sa.exc.IntegrityError, match="account_kind"):
        books.tamper(video, "charge", account="provider")


def test_no_amount_is_below_zero(books: Books) -> None:
    video = books.video()
    with pytest.raises(sa.exc.IntegrityError, match="amount_not_negative"):
        books.tamper(video, "hold", amount_micro_usd=-1)
