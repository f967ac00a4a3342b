"""Accounts at a provider: which one a job goes to, what opens and closes it, and what waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.accounts import UNKNOWN_HELD, AccountState, jobs_held, locked, read_accounts, save
from gateway.db.tables import provider_accounts
from gateway.jobs import accounts as accounts_module
from gateway.jobs import admit as admit_module
from gateway.jobs import sending as sending_module
from gateway.jobs.accept import dry_run
from gateway.jobs.accounts import FAILURES, reset_account
from gateway.jobs.admit import release_waiting
from gateway.jobs.control import cancel_video
from gateway.jobs.errors import PlanRefused
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.spec import (
    AccountLimits,
    Failed,
    Job,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    Plan,
    RateLimited,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unsupported,
    VideoRequest,
)

from ..._hand import Hand, hand_offer  # noqa: TID252  # shared with the tests of the API
from .conftest import World

ONLY_HAND = {"seconds": "2", "max_cost": "0.01"}
"""A request that echo's own offer is too dear for."""


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def world(make_world: Callable[..., World], hand: Hand, monkeypatch: pytest.MonkeyPatch) -> World:
    """The model ``echo-remote`` from the provider in the test's hand first, then from echo's own."""
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0)
    world = make_world(offers=(hand_offer(),), policy="cheapest")
    world.install(hand)
    return world


def _state(world: World, account: str = "first") -> AccountState:
    with world.runtime.db.read() as connection:
        return read_accounts(connection).get(("hand", account)) or AccountState(
            adapter="hand", account=account
        )


def _set(world: World, account: str, **values: Any) -> None:
    """Put an account in a state, as another process would."""
    with world.runtime.db.write() as connection:
        save(connection, replace(locked(connection, "hand", account), **values))
    world.runtime.timings.forget_accounts()


def _plan(world: World, **fields: Any) -> Plan:
    request = VideoRequest.model_validate({"prompt": "x", "model": "echo-remote", **fields})
    return dry_run(world.runtime, world.caller, request)


def _starts(world: World) -> list[str]:
    return [name for name in world.enqueued() if name.startswith("start:")]


def test_a_bad_key_stops_its_account_and_the_job_goes_on_with_the_other(world: World, hand: Hand) -> None:
    hand.trouble["first"] = NotAuthorised("bad key", operator_detail="HTTP 401")
    video_id = world.accept(**ONLY_HAND)
    assert world.submitted(video_id).error_code == "not_authorised"
    settle(world.runtime, world.attempt(video_id).id)
    second = world.submitted(video_id, 2)
    assert (second.account, second.state, second.offer) == ("second", "submitted", "hand/echo-remote")
    state = _state(world)
    assert (state.state, state.reason, state.detail) == ("stopped", "not_authorised", "HTTP 401")
    assert world.attempt(world.accept(**ONLY_HAND)).account == "second"
    with world.runtime.db.write() as connection:
        assert reset_account(connection, "hand", "first", "a test").state == "stopped"
    world.runtime.timings.forget_accounts()
    assert world.attempt(world.accept(**ONLY_HAND)).account == "first"
    assert world.problems() == []


@pytest.mark.parametrize(
    "error", [NotAuthorised("bad key"), Unavailable("503"), Unsupported("not there")], ids=repr
)
def test_a_job_goes_to_the_account_that_has_its_offer_and_so_does_the_next_way(
    make_world: Callable[..., World], hand: Hand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0)
    price = {**hand_offer()["prices"][0], "usd": "0.002"}
    world = make_world(offers=(hand_offer(), hand_offer(id="hand/west", prices=[price])), policy="cheapest")
    world.install(hand)
    hand.lacks = {"first": {"hand/west"}, "second": {"hand/echo-remote"}}
    hand.trouble = {"first": error}
    ways = [(way.offer, way.account) for way in _plan(world, **ONLY_HAND).candidates]
    assert ways == [("hand/echo-remote", "first"), ("hand/west", "second")]
    video_id = world.accept(**ONLY_HAND)
    world.submitted(video_id)
    settle(world.runtime, world.attempt(video_id).id)
    after = world.submitted(video_id, 2)
    assert (after.offer, after.account, after.state) == ("hand/west", "second", "submitted")
    assert {account for account, _ in hand.sent} == {"first", "second"}
    assert world.problems() == []


def test_no_account_left_drops_the_offer_and_says_since_when_why_and_what_to_do(
    world: World, hand: Hand
) -> None:
    hand.trouble = {
        "first": OutOfCredit("empty", operator_detail="balance of ACME: 0"),
        "second": Unavailable("503"),
    }
    video_id = world.accept(**ONLY_HAND)
    world.submitted(video_id)
    settle(world.runtime, world.attempt(video_id).id)
    for _ in range(2):  # each of them sends four times
        other = world.accept(**ONLY_HAND)
        world.submitted(other)
    plan = _plan(world, **ONLY_HAND)
    (dropped,) = [way for way in plan.dropped if way.offer == "hand/echo-remote"]
    assert dropped.code == "account_open"
    assert "account first of hand takes no jobs since 20" in dropped.detail
    assert (
        "(out_of_credit): the operator mends it, then runs `reelgate accounts reset hand first`"
        in dropped.detail
    )
    assert "account second of hand takes no jobs since 20" in dropped.detail
    assert "(unavailable): it is tried again from " in dropped.detail
    assert "ACME" not in dropped.detail, "what is for the operator alone"
    assert _plan(world).chosen is not None, "echo's own offer is still there"
    with pytest.raises(PlanRefused):
        world.accept(**ONLY_HAND)


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), UnexpectedReply("gibberish")])
def test_lost_answers_open_it_and_none_is_sent_again(world: World, hand: Hand, error: Exception) -> None:
    hand.accounts = ("first",)
    hand.trouble["first"] = error
    videos = [world.accept(**ONLY_HAND) for _ in range(FAILURES + 1)]
    states = [world.submitted(video_id).state for video_id in videos]
    assert states == ["outcome_unknown"] * FAILURES + ["planned"]
    assert len(hand.sent) == FAILURES
    assert _state(world).state == "open"


def test_looks_that_fail_open_it_and_one_that_works_after_the_pause_closes_it(
    world: World, hand: Hand
) -> None:
    video_id = world.accept(**ONLY_HAND)
    attempt = world.submitted(video_id)
    hand.blind = Unavailable("503")
    for _ in range(FAILURES):
        world.look(attempt.id)
    assert (_state(world).state, _state(world).opened_by) == ("open", "look")
    hand.blind = None
    world.look(attempt.id)
    assert _state(world).state == "open", "it is left alone for a while"
    _set(world, "first", retry_at=now())
    world.look(attempt.id)
    assert _state(world).state == "closed"


def test_a_look_that_hangs_counts_as_a_failure(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(ticket: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("gateway.jobs.watch.LOOK_S", 0.01)
    monkeypatch.setattr(accounts_module, "FAILURES", 1)
    monkeypatch.setattr(hand, "poll", hanging)
    world.look(world.submitted(world.accept(**ONLY_HAND)).id)
    assert _state(world).state == "open"


def test_an_open_account_is_probed_by_one_job_and_the_rest_follow_when_it_works(
    world: World, hand: Hand
) -> None:
    hand.accounts = ("first",)
    videos = [world.accept(**ONLY_HAND) for _ in range(3)]
    _set(world, "first", state="open", since=now(), opened_by="submit", retry_at=now() + timedelta(hours=1))
    for video_id in videos:
        assert world.submitted(video_id).waiting
    before = _starts(world)
    release_waiting(world.runtime)
    assert _starts(world) == before, "it is not time yet"
    _set(world, "first", retry_at=now() - timedelta(seconds=1))
    release_waiting(world.runtime)
    assert [world.attempt(video_id).waiting for video_id in videos] == [False, True, True]
    assert _starts(world)[len(before) :] == [f"start:{world.attempt(videos[0]).id}:1"]
    other = world.accept(**ONLY_HAND)
    assert world.submitted(videos[0]).state == "submitted"
    assert _state(world).state == "closed"
    assert hand.sent == [("first", world.attempt(videos[0]).id)]
    release_waiting(world.runtime)
    assert [world.submitted(video_id).state for video_id in (*videos[1:], other)] == ["submitted"] * 3


def test_a_job_that_comes_while_another_probes_waits(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.accounts = ("first",)
    probe, other = world.accept(**ONLY_HAND), world.accept(**ONLY_HAND)
    _set(world, "first", state="open", since=now(), opened_by="submit", retry_at=now() - timedelta(seconds=1))
    send = hand.submit

    async def meanwhile(job: Any) -> Any:
        monkeypatch.setattr(hand, "submit", send)
        assert (await asyncio.to_thread(world.submitted, other)).waiting
        return await send(job)

    monkeypatch.setattr(hand, "submit", meanwhile)
    assert world.submitted(probe).state == "submitted"
    assert len(hand.sent) == 1


def test_what_happens_in_test_mode_is_of_no_account_but_its_own(
    make_world: Callable[..., World], hand: Hand
) -> None:
    stand_in = Hand()
    stand_in.trouble["first"] = OutOfCredit("empty")
    world = make_world(offers=(hand_offer(),), policy="cheapest", sandbox_url="http://127.0.0.1:9")
    world.install(hand)
    world.runtime.registry = replace(world.runtime.registry, stand_ins={"hand": stand_in})
    live, world.caller = world.caller, replace(world.caller, livemode=False)
    video_id = world.accept(**ONLY_HAND)
    assert world.submitted(video_id).error_code == "out_of_credit"
    assert (_state(world, "sandbox").state, _state(world, "first").state) == ("stopped", "closed")
    with pytest.raises(PlanRefused):
        world.accept(**ONLY_HAND)
    world.caller = live
    assert world.submitted(world.accept(**ONLY_HAND)).state == "submitted"
    assert (len(stand_in.sent), len(hand.sent)) == (1, 1)


def test_while_a_probe_is_under_way_no_other_is_sent(world: World, hand: Hand) -> None:
    hand.accounts = ("first",)
    videos = [world.accept(**ONLY_HAND) for _ in range(2)]
    _set(world, "first", state="open", since=now(), opened_by="submit", retry_at=now() - timedelta(seconds=1))
    hand.trouble["first"] = OutcomeUnknown("lost")
    assert world.submitted(videos[0]).state == "outcome_unknown"
    assert _state(world).openings == 1, "the probe failed"
    _set(world, "first", retry_at=now(), probe_until=now() + timedelta(minutes=1))
    assert world.submitted(videos[1]).waiting
    assert len(hand.sent) == 1


def test_what_can_be_had_elsewhere_does_not_wait_for_an_open_account(world: World, hand: Hand) -> None:
    hand.accounts = ("first",)
    video_id = world.accept(seconds="2")
    _set(world, "first", state="open", since=now(), opened_by="submit", retry_at=now() + timedelta(hours=1))
    assert world.submitted(video_id).error_code == "account_open"
    settle(world.runtime, world.attempt(video_id).id)
    assert world.attempt(video_id, 2).adapter == "echo_remote"
    assert hand.sent == []
    assert world.money(video_id)["void"] == 0


def test_what_waits_for_an_account_that_is_then_stopped_ends_uncharged(world: World, hand: Hand) -> None:
    hand.accounts = ("first",)
    video_id = world.accept(**ONLY_HAND)
    _set(world, "first", state="open", since=now(), opened_by="submit", retry_at=now() + timedelta(hours=1))
    assert world.submitted(video_id).waiting
    _set(world, "first", state="stopped", retry_at=None)
    release_waiting(world.runtime)
    world.submitted(video_id)
    settle(world.runtime, world.attempt(video_id).id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "account_open", 0)
    assert world.problems() == []


def test_another_process_sees_what_this_one_wrote(world: World, hand: Hand) -> None:
    other = accounts_module.Accounts(world.runtime.db, type(world.runtime.timings)())
    other.report(("hand", "first"), "look", NotAuthorised("bad key"))
    world.runtime.timings.forget_accounts()
    assert world.attempt(world.accept(**ONLY_HAND)).account == "second"
    other.report(("hand", "first"), "submit", None)
    assert _state(world).state == "stopped"


def test_calls_that_work_write_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Any:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr(world.runtime.db, "write", refused)
    for error in (None, Unavailable("503"), None):
        world.runtime.accounts.report(("hand", "first"), "look", error)


def test_a_ticket_is_not_lost_because_the_account_could_not_be_recorded(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("the disk is full"))

    monkeypatch.setattr(world.runtime.accounts, "_read", broken)
    monkeypatch.setattr(world.runtime.timings, "accounts", lambda read: read())
    video_id = world.accept(seconds="2")
    hand.allowed["first"] = AccountLimits()
    attempt = world.submitted(video_id)
    assert (attempt.state, attempt.ticket["id"]) == ("submitted", f"up-{attempt.id}")


# --- several accounts, and limits


def test_the_account_with_the_fewest_jobs_is_taken_and_the_preferred_one_of_equals(world: World) -> None:
    accounts = [world.attempt(world.accept(**ONLY_HAND)).account for _ in range(4)]
    assert accounts == ["first", "second", "first", "second"]


def test_an_account_with_room_is_taken_before_one_that_is_full(world: World, hand: Hand) -> None:
    hand.allowed["first"] = AccountLimits(concurrent=1)
    accounts = [world.attempt(world.accept(**ONLY_HAND)).account for _ in range(4)]
    assert accounts == ["first", "second", "second", "second"]


def test_what_finds_its_account_full_waits_and_the_oldest_starts_first(world: World, hand: Hand) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(concurrent=1)
    first, older, younger = [world.accept(**ONLY_HAND) for _ in range(3)]
    assert world.submitted(first).state == "submitted"
    for video_id in (younger, older):
        assert world.submitted(video_id).waiting
    before = _starts(world)
    release_waiting(world.runtime)
    assert _starts(world) == before, "nothing turns while there is no room"
    observe(world.runtime, world.attempt(first).id, Failed(code="gave_up", message="no"))
    latecomer = world.accept(**ONLY_HAND)
    assert world.submitted(latecomer).waiting, "it came last"
    release_waiting(world.runtime)
    release_waiting(world.runtime)
    assert _starts(world)[len(before) :] == [
        f"start:{world.attempt(latecomer).id}:0",
        f"start:{world.attempt(older).id}:1",
    ]
    assert world.submitted(older).state == "submitted"
    assert [account for account, _ in hand.sent] == ["first"] * 2


@pytest.mark.parametrize(
    "over", [{"settled_at": now()}, {"started_at": now() - UNKNOWN_HELD}], ids=["given up", "an hour later"]
)
def test_a_job_of_unknown_outcome_keeps_its_place_for_a_while(
    world: World, hand: Hand, over: dict[str, Any]
) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(concurrent=1)
    lost, other = world.accept(**ONLY_HAND), world.accept(**ONLY_HAND)
    hand.trouble["first"] = OutcomeUnknown("lost")
    world.submitted(lost)
    hand.trouble.clear()
    assert world.submitted(other).waiting
    release_waiting(world.runtime)
    assert world.attempt(other).waiting
    world.update(world.attempt(lost).id, **over)
    release_waiting(world.runtime)
    assert world.submitted(other).state == "submitted"


def test_two_that_come_at_once_do_not_both_take_the_last_place(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(concurrent=1)
    videos = [world.accept(**ONLY_HAND) for _ in range(2)]
    _set(world, "first")  # its row is there to be locked
    counted = threading.Barrier(2)

    def count(*given: Any, **more: Any) -> Any:
        found = jobs_held(*given, **more)
        with suppress(threading.BrokenBarrierError):  # the other is kept out, as it should be
            counted.wait(0.5)
        return found

    monkeypatch.setattr(admit_module, "jobs_held", count)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(world.submitted, videos))
    assert sorted(attempt.state for attempt in found) == ["planned", "submitted"]
    assert len(hand.sent) == 1


def test_what_waits_can_be_cancelled(world: World, hand: Hand) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(concurrent=1)
    world.submitted(world.accept(**ONLY_HAND))
    video_id = world.accept(**ONLY_HAND)
    assert world.submitted(video_id).waiting
    cancel_video(world.runtime, world.caller, video_id)
    attempt = world.attempt(video_id)
    assert (attempt.state, attempt.waiting) == ("cancelled", False)


def test_a_turn_that_does_not_come_before_the_process_ends_is_left_to_the_next(
    world: World, hand: Hand
) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(submits_per_s=0.02)
    world.submitted(world.accept(**ONLY_HAND))
    video_id = world.accept(**ONLY_HAND)
    world.runtime.stopping.set()
    attempt = world.submitted(video_id)
    assert (attempt.state, attempt.waiting, len(hand.sent)) == ("planned", True, 1)
    world.runtime.stopping.clear()
    release_waiting(world.runtime)
    assert f"start:{attempt.id}:1" in _starts(world)


def test_a_turn_that_comes_soon_is_waited_for(world: World, hand: Hand) -> None:
    hand.accounts, hand.allowed["first"] = ("first",), AccountLimits(submits_per_s=20)
    videos = [world.accept(**ONLY_HAND) for _ in range(22)]
    assert {world.submitted(video_id).state for video_id in videos} == {"submitted"}


def test_limits_that_an_adapter_cannot_tell_hold_nothing_up(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(account: str) -> AccountLimits:
        raise RuntimeError("a bug")

    monkeypatch.setattr(hand, "limits", failing)
    assert world.submitted(world.accept(**ONLY_HAND)).state == "submitted"


# --- a long pause that the provider asks for


def test_a_long_pause_is_not_slept_on_but_waited_for(world: World, hand: Hand) -> None:
    hand.accounts, hand.trouble["first"] = ("first",), RateLimited("slow down", retry_after=600)
    video_id = world.accept(**ONLY_HAND)
    attempt = world.submitted(video_id)
    assert (attempt.state, attempt.waiting, len(hand.sent)) == ("planned", True, 1)
    state = _state(world)
    assert state.retry_at is not None
    assert state.retry_at > now() + timedelta(seconds=590)
    _set(world, "first", retry_at=now())
    hand.trouble.clear()
    release_waiting(world.runtime)
    assert world.submitted(video_id).state == "submitted"
    assert world.problems() == []


def test_who_is_cancelled_meanwhile_does_not_wait_for_it(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.accounts, video_id = ("first",), world.accept(**ONLY_HAND)

    async def cancelled_meanwhile(job: Job) -> Ticket:
        cancel_video(world.runtime, world.caller, video_id)
        raise RateLimited("slow down", retry_after=600)

    monkeypatch.setattr(hand, "submit", cancelled_meanwhile)
    attempt = world.submitted(video_id)
    assert (attempt.state, attempt.waiting) == ("failed", False)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "cancelled", 0)
    assert world.problems() == []


def test_with_another_way_a_long_pause_is_handed_over_at_once(world: World, hand: Hand) -> None:
    hand.accounts, hand.trouble["first"] = ("first",), RateLimited("slow down", retry_after=600)
    video_id = world.accept(seconds="2")
    assert world.submitted(video_id).error_code == "rate_limited"
    assert world.attempt(video_id, 2).adapter == "echo_remote", "not when it is settled: it may be gone then"
    settle(world.runtime, world.attempt(video_id).id)
    assert len(world.video(video_id).attempts) == 2
    assert world.problems() == []


def test_a_look_comes_back_no_sooner_than_the_provider_asks(world: World, hand: Hand) -> None:
    attempt = world.submitted(world.accept(**ONLY_HAND))
    hand.blind = RateLimited("slow down", retry_after=300)
    world.look(attempt.id)
    after = world.attempt(attempt.video_id)
    assert after.next_poll_at > now() + timedelta(seconds=290)
    hand.blind = RateLimited("slow down", retry_after=86_400)
    world.look(attempt.id)
    after = world.attempt(attempt.video_id)
    assert after.next_poll_at < now() + timedelta(minutes=6), "and no day later: its result might be gone"


def test_the_table_holds_one_row_an_account(world: World) -> None:
    for _ in range(3):
        _set(world, "first", state="open", retry_at=now())
    with world.runtime.db.read() as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(provider_accounts)).scalar_one()
    assert rows == 1


def test_what_waits_for_an_account_that_is_gone_from_the_settings_moves_on(world: World, hand: Hand) -> None:
    video_id = world.accept(**ONLY_HAND)
    world.update(world.attempt(video_id).id, waiting=True)
    hand.accounts = ("second",)
    release_waiting(world.runtime)
    first = world.attempt(video_id)
    assert (first.state, first.waiting, first.error_code) == ("failed", False, "account_open")
    settle(world.runtime, first.id)
    assert world.submitted(video_id, 2).account == "second"
    assert world.problems() == []


def test_the_answer_to_a_submit_counts_though_another_has_claimed_the_attempt(
    world: World, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that takes it for interrupted does not know what became of it."""
    video_id = world.accept(**ONLY_HAND)
    send = hand.submit

    async def claimed_meanwhile(job: Any) -> Any:
        ticket = await send(job)
        row = world.attempt(video_id)
        world.update(row.id, fence=row.fence + 1, state="outcome_unknown")
        return ticket

    monkeypatch.setattr(hand, "submit", claimed_meanwhile)
    found = world.submitted(video_id)
    assert (found.state, found.error_code) == ("submitted", None)
    assert found.ticket["id"] == found.upstream_id
    assert len(hand.sent) == 1
