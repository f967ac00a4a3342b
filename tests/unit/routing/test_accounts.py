"""Which account a candidate goes to, and what is said of an offer that has none left or is gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.routing import AccountFacts, AdapterFacts, GoneFacts, plan
from gateway.routing.accounts import choose_account
from gateway.spec import Continues

NOON = datetime(2026, 9, 1, 12, 0, 30, tzinfo=UTC)
FAILING = AccountFacts(
    name="main", takes_job=False, state="open", since=NOON, reason="unavailable", retry_at=NOON
)
STOPPED = AccountFacts(name="spare", takes_job=False, state="stopped", since=NOON, reason="out_of_credit")


def _decided(world: Any, *accounts: AccountFacts, **facts: Any) -> Any:
    adapters = {**world.facts().adapters, "kling": AdapterFacts(kind="remote", accounts=accounts)}
    card = world.card("one", world.offer("one"))
    return plan(world.request(model="one"), world.facts(card, adapters=adapters, **facts))


@pytest.mark.parametrize(
    ("accounts", "chosen"),
    [
        ([AccountFacts(name="a"), AccountFacts(name="b")], "a"),
        ([AccountFacts(name="a", held=2), AccountFacts(name="b", held=1)], "b"),
        ([AccountFacts(name="a", full=True), AccountFacts(name="b", held=9)], "b"),
        ([AccountFacts(name="a", full=True, held=3), AccountFacts(name="b", full=True, held=2)], "b"),
        ([FAILING, AccountFacts(name="b", full=True)], "b"),
        ([FAILING, STOPPED], None),
        ([], None),
    ],
)
def test_of_those_that_take_jobs_one_with_room_then_the_fewest_jobs_then_the_preferred(
    accounts: list[AccountFacts], chosen: str | None
) -> None:
    found = choose_account(accounts, "kling/one")
    assert (found and found.name) == chosen


def test_what_goes_on_from_a_preview_stays_with_the_account_that_made_it() -> None:
    accounts = [AccountFacts(name="a", held=3), AccountFacts(name="b")]
    done: dict[str, Any] = {"video_id": "v", "attempt_id": "a", "offer": "o", "done_preset": "draft"}
    done |= {"checkpoint": "c", "sha256": "s"}
    for account, chosen in (("a", "a"), ("gone", None), (None, "b")):
        found = choose_account(accounts, "o", continues=Continues(account=account, **done))
        assert (found and found.name) == chosen


def test_one_that_is_spoilt_is_not_taken_again() -> None:
    found = choose_account([AccountFacts(name="a"), AccountFacts(name="b", held=5)], "kling/one", but={"a"})
    assert found is not None
    assert found.name == "b"


def test_one_that_lacks_the_offer_is_passed_over_and_not_blamed(world: Any) -> None:
    elsewhere = AccountFacts(name="china", lacks=frozenset({"kling/one"}))
    assert _decided(world, elsewhere, AccountFacts(name="b", held=9)).chosen.account == "b"
    (dropped,) = _decided(world, elsewhere, FAILING).dropped
    assert dropped.code == "account_open"
    assert "china" not in dropped.detail
    assert [dropped.code for dropped in _decided(world, elsewhere).dropped] == ["no_account"]


def test_the_candidate_names_the_account(world: Any) -> None:
    assert _decided(world, FAILING, AccountFacts(name="b")).chosen.account == "b"


def test_with_none_left_the_offer_is_dropped_and_says_what_is_done_about_each(world: Any) -> None:
    (dropped,) = _decided(world, FAILING, STOPPED).dropped
    assert (dropped.code, dropped.offer, dropped.preset) == ("account_open", "kling/one", None)
    assert dropped.detail == (
        "kling/one: account main of kling takes no jobs since 2026-09-01 12:00 UTC (unavailable): it is "
        "tried again from 2026-09-01 12:00:30 UTC on; account spare of kling takes no jobs since "
        "2026-09-01 12:00 UTC (out_of_credit): the operator mends it, then runs `reelgate accounts reset "
        "kling spare`"
    )


def test_an_adapter_without_an_account_is_no_candidate(world: Any) -> None:
    assert [dropped.code for dropped in _decided(world).dropped] == ["no_account"]


def test_an_offer_that_is_gone_is_retired_whatever_its_card_says(world: Any) -> None:
    gone = {"kling/one": GoneFacts(since=NOON, said="Kling no longer has this model.")}
    (dropped,) = _decided(world, AccountFacts(name="a"), gone=gone).dropped
    assert dropped.code == "retired"
    assert "on 2026-09-01 that the model is gone: Kling no longer has this model." in dropped.detail
    assert "`reelgate offers restore kling/one`" in dropped.detail
