"""A person's word on a submit whose answer was lost: adopt, release, resubmit; in time and too late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.db import now
from gateway.jobs import reconcile
from gateway.jobs import sending as sending_module
from gateway.jobs.attempts import load
from gateway.jobs.control import cancel_video
from gateway.jobs.reconcile import NoSuchAttempt, NotReconcilable
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.spec import OutcomeUnknown, Succeeded

from ..._hand import Hand, hand_offer  # noqa: TID252  # shared with the tests of the API
from .conftest import World

ME = "a test"
DRAWN_AT_ONCE: dict[str, Any] = {"seconds": "2", "options": {"echo_remote": {"latency_ms": 0}}}


@pytest.fixture
def lost(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A video whose job echo took, though its answer was lost and it cannot be looked up."""
    monkeypatch.setattr(sending_module, "LooksUp", int)
    options = {"echo_remote": {"latency_ms": 0, "fail": "submit_lost"}}
    video_id = world.accept(seconds="2", options=options)
    assert world.submitted(video_id).state == "outcome_unknown"
    return video_id


def _upstream(world: World, attempt_id: str) -> str:
    return next(str(line["id"]) for line in world.bill() if line.get("tag") == attempt_id)


def _submits(world: World) -> int:
    return sum(line["event"] == "submit" for line in world.bill())


def _given_up(world: World, video_id: str) -> str:
    """Past its deadline: the video has failed and its hold is released."""
    attempt_id: str = world.attempt(video_id).id
    world.update_video(video_id, deadline_at=now() - timedelta(seconds=1))
    world.look(attempt_id)
    assert world.video(video_id).error_code == "outcome_unknown"
    assert "actual" not in world.money(video_id)
    assert "void" not in world.money(video_id)
    return attempt_id


def _listed(world: World) -> list[str]:
    with world.runtime.db.read() as connection:
        return [row.id for row in reconcile.unknown_attempts(connection)]


def test_an_adopted_job_is_watched_delivered_and_charged(world: World, lost: str) -> None:
    attempt_id = world.attempt(lost).id
    assert _listed(world) == [attempt_id]
    reconcile.adopt(world.runtime, attempt_id, _upstream(world, attempt_id), ME)
    assert _listed(world) == []
    world.look(attempt_id)
    settle(world.runtime, attempt_id)
    video = world.video(lost)
    assert (video.status, video.charge_micro_usd, video.error_code) == ("completed", 20_000, None)
    assert _submits(world) == 1
    assert world.problems() == []


def test_an_id_that_the_provider_does_not_show_is_not_adopted(world: World, lost: str) -> None:
    attempt_id = world.attempt(lost).id
    with pytest.raises(NotReconcilable, match="echo_remote does not show a job echo-typo: Echo knows no job"):
        reconcile.adopt(world.runtime, attempt_id, "echo-typo", ME)
    assert world.attempt(lost).state == "outcome_unknown"


def test_a_job_that_is_another_attempts_is_not_adopted(world: World, lost: str) -> None:
    other = world.submitted(world.accept(**DRAWN_AT_ONCE))
    with pytest.raises(NotReconcilable, match=f"is that of {other.id}"):
        reconcile.adopt(world.runtime, world.attempt(lost).id, other.upstream_id, ME)
    assert world.attempt(lost).state == "outcome_unknown"


def test_an_adapter_that_cannot_adopt_says_so(
    world: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "Adopts", int)
    with pytest.raises(NotReconcilable, match="cannot adopt a job by its id: release it or resubmit it"):
        reconcile.adopt(world.runtime, world.attempt(lost).id, "echo-1", ME)


def test_without_the_adapter_that_sent_it_nobody_is_told_to_send_it_again(
    world: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(world.runtime.registry), "find", lambda *_: None)
    with pytest.raises(NotReconcilable, match="was not asked: these settings have none") as caught:
        reconcile.adopt(world.runtime, world.attempt(lost).id, "echo-1", ME)
    assert "release" not in str(caught.value)
    assert "resubmit" not in str(caught.value)
    assert world.attempt(lost).state == "outcome_unknown"


def test_a_released_attempt_costs_nothing_and_its_video_fails_where_nothing_else_is_left(
    world: World, lost: str
) -> None:
    attempt_id = world.attempt(lost).id
    reconcile.release(world.runtime, attempt_id, ME)
    settle(world.runtime, attempt_id)
    video = world.video(lost)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "never_taken", 0)
    assert world.money(lost) == {"hold": 20_000, "estimate": 20_000, "void": 0, "release": 20_000}
    assert world.problems() == []


def test_after_a_release_the_next_candidate_follows(make_world: Callable[..., World]) -> None:
    world = make_world(offers=(hand_offer(),), policy="cheapest")
    hand = Hand()
    world.install(hand)
    hand.trouble["first"] = OutcomeUnknown("lost")
    video_id = world.accept(seconds="2")
    attempt = world.submitted(video_id)
    reconcile.release(world.runtime, attempt.id, ME)
    settle(world.runtime, attempt.id)
    assert world.attempt(video_id, 2).adapter == "echo_remote"
    assert world.problems() == []


def test_a_resubmitted_attempt_is_sent_again_once_and_under_a_new_fence(world: World, lost: str) -> None:
    before = world.attempt(lost)
    world.update_video(lost, request={**_request(world, lost), "options": DRAWN_AT_ONCE["options"]})
    reconcile.resubmit(world.runtime, before.id, ME)
    planned = world.attempt(lost)
    assert (planned.state, planned.fence, planned.error_code) == ("planned", before.fence + 1, None)
    assert f"start:{before.id}:{planned.fence}" in world.enqueued()
    submit(world.runtime, before.id)
    submit(world.runtime, before.id)
    assert world.attempt(lost).state == "submitted"
    assert _submits(world) == 2, "the one that was lost, and the one by a person's word"
    world.look(before.id)
    settle(world.runtime, before.id)
    assert world.video(lost).status == "completed"
    assert world.problems() == []


def _request(world: World, video_id: str) -> dict[str, Any]:
    with world.runtime.db.read() as connection:
        return dict(load(connection, world.attempt(video_id).id).request)


def test_after_the_deadline_an_adoption_records_what_the_provider_bills_and_nothing_else(
    world: World, lost: str
) -> None:
    attempt_id = _given_up(world, lost)
    assert _listed(world) == [attempt_id]
    video, money = world.video(lost), world.money(lost)
    reconcile.adopt(world.runtime, attempt_id, _upstream(world, attempt_id), ME)
    assert world.money(lost) == money | {"actual": 20_000}
    attempt = world.attempt(lost)
    assert (attempt.state, attempt.error_code, attempt.actual_micro_usd) == (
        "failed",
        "taken_too_late",
        20_000,
    )
    after = world.video(lost)
    assert (after.status, after.error_code, after.charge_micro_usd, after.completed_at) == (
        video.status,
        video.error_code,
        0,
        video.completed_at,
    )
    assert (_listed(world), world.problems()) == ([], [])


def test_after_the_deadline_a_release_records_that_nothing_is_billed(world: World, lost: str) -> None:
    attempt_id = _given_up(world, lost)
    money = world.money(lost)
    reconcile.release(world.runtime, attempt_id, ME)
    assert world.money(lost) == money | {"void": 0}
    assert world.attempt(lost).error_code == "never_taken"
    assert len(world.video(lost).attempts) == 1
    assert (_listed(world), world.problems()) == ([], [])


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_what_nobody_waits_for_is_not_sent_again(world: World, lost: str, how: str) -> None:
    if how == "deadline":
        _given_up(world, lost)
    else:
        cancel_video(world.runtime, world.caller, lost)
    with pytest.raises(NotReconcilable, match="adopt it or release it"):
        reconcile.resubmit(world.runtime, world.attempt(lost).id, ME)
    assert world.attempt(lost).state == "outcome_unknown"
    assert _submits(world) == 1


def test_a_word_is_given_once(world: World, lost: str) -> None:
    attempt_id = _given_up(world, lost)
    reconcile.release(world.runtime, attempt_id, ME)
    for again in (
        lambda: reconcile.release(world.runtime, attempt_id, ME),
        lambda: reconcile.resubmit(world.runtime, attempt_id, ME),
        lambda: reconcile.adopt(world.runtime, attempt_id, "echo-1", ME),
    ):
        with pytest.raises(NotReconcilable, match="is failed: there is nothing to reconcile"):
            again()
    assert world.problems() == []


def test_an_attempt_that_is_not_there_is_told_so(world: World) -> None:
    with pytest.raises(NoSuchAttempt):
        reconcile.release(world.runtime, "att_gone", ME)


def test_an_adoption_that_the_watcher_made_first_stands(
    world: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_id = world.attempt(lost).id
    seen = reconcile._seen

    def meanwhile(*given: Any) -> Any:
        world.update(attempt_id, state="running")
        return seen(*given)

    monkeypatch.setattr(reconcile, "_seen", meanwhile)
    with pytest.raises(NotReconcilable, match="is running"):
        reconcile.adopt(world.runtime, attempt_id, _upstream(world, attempt_id), ME)
    assert world.attempt(lost).state == "running"


def test_the_hands_tickets_lead_on(make_world: Callable[..., World]) -> None:
    world = make_world(offers=(hand_offer(),), policy="cheapest")
    hand = Hand()
    world.install(hand)
    hand.trouble["first"], hand.jobs["up-7"] = OutcomeUnknown("lost"), Succeeded()
    attempt = world.submitted(world.accept(seconds="2"))
    reconcile.adopt(world.runtime, attempt.id, "up-7", ME)
    after = world.attempt(attempt.video_id)
    assert (after.ticket, after.upstream_id) == ({"id": "up-7", "data": {"account": "first"}}, "up-7")
    world.look(attempt.id)
    assert world.attempt(attempt.video_id).state == "fetching"
