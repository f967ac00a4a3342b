"""The next candidate of a plan: after what proves that nothing came of the one before, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.db import now
from gateway.db.accounts import locked, save
from gateway.db.retired import read_retired, restore
from gateway.jobs import sending as sending_module
from gateway.jobs.accept import dry_run
from gateway.jobs.admit import admitted
from gateway.jobs.attempts import load
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.registry import SANDBOX
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    RateLimited,
    Refused,
    Stopped,
    Unavailable,
    UnexpectedReply,
    Unsupported,
    VideoRequest,
)

from ..._hand import Hand, hand_offer  # noqa: TID252  # shared with the tests of the API
from .conftest import World

ASKED = {"seconds": "2"}


@pytest.fixture
def hand() -> Hand:
    return Hand(accounts=("only",))


@pytest.fixture
def world(make_world: Callable[..., World], hand: Hand, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three ways, in this order: hand's two offers, then echo's."""
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0)
    price = {**hand_offer()["prices"][0], "usd": "0.002"}
    offers = (hand_offer(), hand_offer(id="hand/again", prices=[price]))
    world = make_world(offers=offers, policy="cheapest")
    world.install(hand)
    return world


def _ways(world: World, video_id: str) -> list[str]:
    return [attempt.offer for attempt in world.video(video_id).attempts]


def _settled(world: World, video_id: str, number: int = 1) -> None:
    settle(world.runtime, world.attempt(video_id, number).id)


@pytest.mark.parametrize(
    "error",
    [
        Unsupported("no"),
        ModelGone("no"),
        NotAuthorised("no"),
        OutOfCredit("no"),
        Unavailable("no"),
        RateLimited("no"),
        RateLimited("no", retry_after=900),
    ],
    ids=repr,
)
def test_a_starred_error_at_submit_is_followed_by_the_next_candidate(
    world: World, hand: Hand, error: Exception
) -> None:
    hand.trouble["only"] = error
    video_id = world.accept(**ASKED)
    world.submitted(video_id)
    _settled(world, video_id)
    assert len(_ways(world, video_id)) == 2
    assert world.attempt(video_id).error_code == error.code  # type: ignore[attr-defined]  # one of ours
    assert world.video(video_id).status == "queued"
    assert world.problems() == []


@pytest.mark.parametrize("error", [BadRequest("no"), ContentBlocked("no"), Refused("no")], ids=repr)
def test_a_refusal_of_the_input_ends_the_video(world: World, hand: Hand, error: Refused) -> None:
    hand.trouble["only"] = error
    video_id = world.accept(**ASKED)
    world.submitted(video_id)
    _settled(world, video_id)
    assert _ways(world, video_id) == ["hand/echo-remote"]
    assert (world.video(video_id).status, world.video(video_id).error_code) == ("failed", error.code)
    assert world.problems() == []


@pytest.mark.parametrize(
    ("at_submit", "user_fault", "advice"),
    [
        (ContentBlocked("Hand said no"), True, "Change the request before you send it again."),
        (Unsupported("Hand said no."), False, "Send it again later, or ask for another model."),
        (None, True, "Change the request before you send it again."),
        (None, False, "Send it again later, or ask for another model."),
    ],
)
def test_a_failure_says_who_failed_that_it_is_not_charged_and_what_to_do(
    world: World, hand: Hand, at_submit: Exception | None, user_fault: bool, advice: str
) -> None:
    hand.trouble = {} if at_submit is None else {"only": at_submit}
    video_id = world.accept(**ASKED)
    attempt = world.submitted(video_id)
    if at_submit is None:
        observe(world.runtime, attempt.id, Failed(code="no", message="Hand said no", user_fault=user_fault))
    assert world.attempt(video_id).error_message == f"Hand said no. You were not charged. {advice}"


def test_an_account_that_takes_no_jobs_is_not_left_for_another_offer_on_it(world: World) -> None:
    key, retry_at = ("hand", "only"), now()
    video_id = world.accept(**ASKED, max_cost="0.005")  # echo's own offer is dearer
    with world.runtime.db.write() as connection:
        save(connection, replace(locked(connection, *key), state="open", retry_at=retry_at))
    world.runtime.timings.forget_accounts()
    row = world.attempt(video_id)
    with world.runtime.db.write() as connection:  # decided a moment before the account is tried again
        loaded = load(connection, row.id, lock=True)
        assert not admitted(connection, world.runtime, loaded, retry_at - timedelta(seconds=1))
    assert (world.attempt(video_id).state, world.attempt(video_id).waiting) == ("planned", True)


@pytest.mark.parametrize(
    "error", [OutcomeUnknown("lost"), UnexpectedReply("?"), RuntimeError("a bug")], ids=repr
)
def test_after_an_unknown_outcome_there_is_never_another(world: World, hand: Hand, error: Exception) -> None:
    hand.trouble["only"] = error
    video_id = world.accept(**ASKED)
    assert world.submitted(video_id).state == "outcome_unknown"
    _settled(world, video_id)
    submit(world.runtime, world.attempt(video_id).id)
    assert _ways(world, video_id) == ["hand/echo-remote"]
    assert len(hand.sent) == 1


@pytest.mark.parametrize(
    ("end", "ways", "code"),
    [
        (Failed(code="gave_up", message="no"), 2, None),
        (Failed(code="gave_up", message="no", billed=True), 2, None),
        (Failed(code="bad_input", message="no", user_fault=True), 1, "bad_input"),
        (Stopped(), 1, "cancelled"),
    ],
    ids=repr,
)
def test_of_verified_ends_only_a_failure_that_is_not_the_callers_is_followed(
    world: World, end: Failed | Stopped, ways: int, code: str | None
) -> None:
    video_id = world.accept(**ASKED)
    observe(world.runtime, world.submitted(video_id).id, end)
    _settled(world, video_id)
    assert len(_ways(world, video_id)) == ways
    assert world.video(video_id).error_code == code
    assert world.problems() == []


def test_they_come_in_the_order_of_the_plan_each_once_and_the_last_ones_reason_is_told(
    world: World, hand: Hand
) -> None:
    video_id = world.accept(**ASKED, options={"echo_remote": {"fail": "submit"}})
    for number in (1, 2):
        observe(world.runtime, world.submitted(video_id, number).id, Failed(code="gave_up", message="no"))
        _settled(world, video_id, number)
    world.submitted(video_id, 3)
    _settled(world, video_id, 3)
    assert _ways(world, video_id) == ["hand/echo-remote", "hand/again", "echo_remote/echo-remote"]
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "unavailable", 0)
    assert world.problems() == []


@pytest.mark.parametrize(
    ("change", "ways"),
    [
        ({"hold_micro_usd": 20_000}, 2),
        ({"hold_micro_usd": 3_999}, 1),
        ({"deadline_at": now() - timedelta(seconds=1)}, 1),
        ({"stop_requested_at": now(), "stop_reason": "caller"}, 1),
    ],
)
def test_it_stays_within_the_hold_and_the_deadline(
    world: World, hand: Hand, change: dict[str, Any], ways: int
) -> None:
    hand.trouble["only"] = Unavailable("no")
    video_id = world.accept(**ASKED)
    world.submitted(video_id)
    world.update_video(video_id, **change)
    _settled(world, video_id)
    assert len(_ways(world, video_id)) == ways


# --- a model that ends, and one that is gone


def test_an_end_within_thirty_days_is_told_with_the_video(make_world: Callable[..., World]) -> None:
    soon = now().date() + timedelta(days=30)
    world = make_world(offers=(hand_offer(lifecycle={"retired_on": soon}),), policy="cheapest")
    world.install(Hand())
    notes = world.video(world.accept(**ASKED)).notes
    assert {"code": "retiring", "detail": f"hand/echo-remote retires on {soon}"} in notes


def test_an_offer_whose_model_is_gone_is_passed_over_until_a_person_restores_it(
    world: World, hand: Hand
) -> None:
    waiting = world.accept(**ASKED)
    hand.trouble["only"] = ModelGone(
        "Hand no longer has hand-1.", operator_detail="HTTP 404: model_not_found"
    )
    video_id = world.accept(**ASKED)
    world.submitted(video_id)
    _settled(world, video_id)
    assert _ways(world, video_id) == ["hand/echo-remote", "hand/again"]
    request = VideoRequest(prompt="x", model="echo-remote")
    plan = dry_run(world.runtime, world.caller, request)
    (dropped,) = [way for way in plan.dropped if way.offer == "hand/echo-remote"]
    assert dropped.code == "retired"
    assert "Hand no longer has hand-1." in dropped.detail
    assert "`reelgate offers restore hand/echo-remote`" in dropped.detail
    with world.runtime.db.write() as connection:
        assert list(read_retired(connection)) == ["hand/echo-remote"]
        assert restore(connection, "hand/echo-remote")
        assert not restore(connection, "hand/echo-remote")
    world.runtime.timings.forget_accounts()
    chosen = dry_run(world.runtime, world.caller, request).chosen
    assert chosen is not None
    assert chosen.offer == "hand/echo-remote"
    assert world.submitted(waiting).error_code == "model_gone", "it was planned before"


def test_what_a_stand_in_says_in_test_mode_retires_nothing_that_is_live(world: World, hand: Hand) -> None:
    video_id = world.accept(**ASKED)
    world.update(world.attempt(video_id).id, account=SANDBOX)
    registry = world.runtime.registry
    stand_in = Hand(accounts=("only",))
    stand_in.trouble["only"] = ModelGone("gone")
    world.runtime.registry = replace(registry, stand_ins={"hand": stand_in})
    assert world.submitted(video_id).error_code == "model_gone"
    with world.runtime.db.read() as connection:
        assert list(read_retired(connection)) == ["hand/echo-remote@sandbox"]
    live = dry_run(world.runtime, world.caller, VideoRequest.model_validate({"prompt": "x", **ASKED}))
    assert "hand/echo-remote" in {candidate.offer for candidate in live.candidates}


def test_a_plan_from_before_does_not_lead_to_an_offer_that_is_gone_since(world: World, hand: Hand) -> None:
    earlier = world.accept(**ASKED)
    hand.trouble["only"] = ModelGone("gone")
    for number, video_id in ((1, world.accept(**ASKED)), (2, earlier)):
        world.submitted(video_id)
        _settled(world, video_id)
        if number == 1:
            world.submitted(video_id, 2)  # and the second offer with it
    assert _ways(world, earlier) == ["hand/echo-remote", "echo_remote/echo-remote"]
