"""What a call to a provider makes of its account, decided without a database; and the pace of submits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.db.accounts import AccountState
from gateway.jobs.accounts import OPEN_FIRST, OPEN_LONGEST, Outcome, judged
from gateway.jobs.pace import Pace, TooSoon
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    RateLimited,
    Unavailable,
    UnexpectedReply,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CLOSED = AccountState(adapter="comet", account="main")
DOWN = Unavailable("HTTP 503")


def _after(state: AccountState, error: Exception | None, *, at: datetime = NOON, **more: Any) -> AccountState:
    return judged(state, Outcome(error=error, **{"kind": "submit", **more}), at)


def _open(**more: Any) -> AccountState:
    return _after(CLOSED, DOWN, failing=True, **more)


@pytest.mark.parametrize("error", [DOWN, UnexpectedReply("?"), OutcomeUnknown("lost"), RuntimeError("a bug")])
def test_one_failure_changes_nothing_and_many_open_it(error: Exception) -> None:
    assert _after(CLOSED, error) is CLOSED
    opened = _after(CLOSED, error, failing=True)
    assert (opened.state, opened.since, opened.retry_at) == ("open", NOON, NOON + OPEN_FIRST)


@pytest.mark.parametrize("error", [None, BadRequest("no"), ContentBlocked("no"), ModelGone("gone")])
def test_a_refusal_of_the_input_is_a_success_of_the_account(error: Exception | None) -> None:
    assert _after(CLOSED, error) is CLOSED
    assert _after(_open(), error, at=NOON + OPEN_FIRST).state == "closed"


@pytest.mark.parametrize("error", [NotAuthorised("bad key"), OutOfCredit("empty")])
def test_a_bad_key_and_an_empty_account_stop_it_until_a_person_acts(error: Any) -> None:
    for state in (CLOSED, _open()):
        stopped = _after(state, error)
        assert (stopped.state, stopped.reason) == ("stopped", error.code)
        assert not stopped.takes_job(NOON + timedelta(days=30))
        for later in (None, DOWN, error):
            assert _after(stopped, later, failing=True, at=NOON + timedelta(days=30)) is stopped


def test_while_it_is_open_nothing_said_before_the_time_to_probe_counts() -> None:
    opened = _open()
    early = NOON + OPEN_FIRST - timedelta(seconds=1)
    assert not opened.takes_job(early)
    assert _after(opened, None, at=early) is opened
    assert _after(opened, DOWN, at=early, failing=True) is opened


def test_each_probe_that_fails_doubles_the_wait_up_to_a_bound() -> None:
    state, waits = _open(), []
    for _ in range(8):
        assert state.retry_at is not None
        at = state.retry_at
        state = _after(state, DOWN, at=at)
        assert state.retry_at is not None
        waits.append(state.retry_at - at)
    assert waits[:2] == [2 * OPEN_FIRST, 4 * OPEN_FIRST]
    assert waits[-1] == OPEN_LONGEST
    assert (state.since, state.openings) == (NOON, 9)


def test_what_submits_opened_no_look_closes_and_the_other_way_round_a_submit_does() -> None:
    due = NOON + OPEN_FIRST
    by_submits, by_looks = _open(kind="submit"), _open(kind="look")
    assert _after(by_submits, None, kind="look", at=due) is by_submits
    assert _after(by_submits, DOWN, kind="look", at=due, failing=True) is by_submits
    assert _after(by_submits, None, kind="submit", at=due).state == "closed"
    assert _after(by_looks, None, kind="look", at=due).state == "closed"
    assert _after(by_looks, None, kind="submit", at=due).state == "closed"


def test_a_long_pause_that_the_provider_asks_for_is_kept_from_the_first_time_on() -> None:
    assert _after(CLOSED, RateLimited("slow", retry_after=2)) is CLOSED
    opened = _after(CLOSED, RateLimited("slow", retry_after=600))
    assert opened.retry_at == NOON + timedelta(seconds=600)
    assert _after(CLOSED, RateLimited("slow"), failing=True).retry_at == NOON + OPEN_FIRST


def test_a_lookup_that_finds_two_is_no_failure() -> None:
    ambiguous = Outcome(kind="look", error=OutcomeUnknown("two match"))
    assert ambiguous.works
    assert not Outcome(kind="submit", error=OutcomeUnknown("lost")).works


def test_one_probe_at_a_time_and_one_that_never_ends_does_not_block_for_ever() -> None:
    opened = _open()
    due = NOON + OPEN_FIRST
    assert opened.takes_job(due)
    probing = AccountState(**{**vars(opened), "probe_until": due + timedelta(minutes=2)})
    assert not probing.takes_job(due + timedelta(minutes=1))
    assert probing.takes_job(due + timedelta(minutes=2))


@pytest.mark.parametrize(("per_s", "taken", "within"), [(2.0, 2, 1.0), (0.1, 1, 10.0), (1.5, 3, 2.0)])
def test_submits_keep_their_accounts_pace(per_s: float, taken: int, within: float) -> None:
    pace = Pace()
    for _ in range(taken):
        pace.take_turn(("comet", "main"), per_s)
    with pytest.raises(TooSoon) as early:
        pace.take_turn(("comet", "main"), per_s)
    assert 0 < early.value.wait_s <= within
    pace.take_turn(("comet", "other"), per_s)
