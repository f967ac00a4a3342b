"""A remote attempt: submitted once, watched, settled; every end leaves balanced books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.db import now
from gateway.jobs import sending as sending_module
from gateway.jobs import submit as submit_module
from gateway.jobs.accept import accept
from gateway.jobs.control import cancel_video
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.media import StoreError, StoreFull
from gateway.spec import (
    InputImage,
    Job,
    OutcomeUnknown,
    Running,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    VideoRequest,
)

from .conftest import World


def _at_once(**more: Any) -> dict[str, Any]:
    return {"options": {"echo_remote": {"latency_ms": 0, **more}}}


def _watch_once(world: World) -> None:
    """One round of the watcher with everything due."""

    async def round_() -> None:
        watcher = Watcher(world.runtime)
        await watcher._tick()
        await asyncio.gather(*watcher._looks)

    world.runtime.io.run(round_())


def _due(world: World, attempt_id: str) -> None:
    world.update(attempt_id, next_poll_at=now() - timedelta(seconds=1))


def _submits(world: World) -> int:
    return sum(line["event"] == "submit" for line in world.bill())


def test_images_that_cannot_be_read_now_put_the_submit_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = InputImage(
        role="first_frame", key="ab12", sha256="ab12", media_type="image/png", width=64, height=64, bytes=3
    )
    request = VideoRequest(prompt="x", model="echo-remote", images=(image,))
    reply = accept(world.runtime, world.caller, request, {"ab12": b"png"}, reply=lambda v: {"id": v.id}).reply
    attempt = world.attempt(reply["id"])

    def refusing(key: str) -> bytes:
        raise StoreError("the bucket does not answer")

    monkeypatch.setattr(submit_module, "STORE_PAUSE_S", 0.0)
    monkeypatch.setattr(world.runtime.store, "read", refusing)
    submit(world.runtime, attempt.id)
    assert (world.attempt(reply["id"]).state, _submits(world)) == ("planned", 0)


def test_from_submit_to_charge(world: World) -> None:
    video_id = world.accept(seconds="2", **_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "submitted"
    assert world.video(video_id).status == "in_progress"
    _due(world, attempt.id)
    _watch_once(world)
    assert world.attempt(video_id).state == "fetching"
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.progress, video.charge_micro_usd) == ("completed", 100, 20_000)
    assert world.money(video_id) == {
        "hold": 20_000,
        "estimate": 20_000,
        "charge": 20_000,
        "release": 0,
        "actual": 20_000,
    }
    latency = video.attempts[0].latency
    assert all(latency[part] is not None for part in ("queued_ms", "submit_ms", "transfer_ms", "total_ms"))
    assert world.problems() == []


def test_settling_twice_charges_once(world: World) -> None:
    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    _due(world, attempt.id)
    _watch_once(world)
    settle(world.runtime, attempt.id)
    before = world.money(video_id)
    settle(world.runtime, attempt.id)
    assert world.money(video_id) == before


def test_a_submit_run_again_after_its_answer_was_recorded_sends_nothing(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    submit(world.runtime, attempt.id)
    assert _submits(world) == 1


def test_a_submit_that_died_after_sending_is_looked_up_and_adopted(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    world.update(attempt.id, state="submitting", ticket=None, next_poll_at=None)
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "submitted"
    assert _submits(world) == 1


def test_a_lookup_is_told_when_the_attempt_was_planned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    async def lookup(_adapter: Any, job: Job) -> None:
        told.append(job.planned_at)

    monkeypatch.setattr(type(world.runtime.registry.remote("echo_remote", "default")), "lookup", lookup)
    attempt = world.attempt(world.accept())
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    assert told == [attempt.created_at]


def test_a_submit_that_died_before_sending_is_never_sent_blindly(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "outcome_unknown"
    assert _submits(world) == 0


class Killed(BaseException):
    """The process ends here and now."""


def test_a_submit_that_died_between_a_refusal_and_the_next_try_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = _replace_submit(world, monkeypatch, Unavailable("too busy"))
    monkeypatch.setattr(sending_module, "sleep_using_event", lambda _event: _killed)
    attempt = world.attempt(world.accept())
    with pytest.raises(Killed):
        submit(world.runtime, attempt.id)
    left = world.attempt(attempt.video_id)
    assert (left.state, left.error_code, left.error_message) == ("submitting", "unavailable", "too busy")
    assert len(tries) == 1
    monkeypatch.undo()
    submit(world.runtime, attempt.id)
    sent = world.attempt(attempt.video_id)
    assert (sent.state, sent.error_code, sent.error_message) == ("submitted", None, None)
    assert _submits(world) == 1


def test_a_submit_that_died_in_its_second_try_is_not_sent_blindly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Unavailable("too busy"), Killed()])

    async def answered(_adapter: Any, _job: Job) -> Ticket:
        raise next(answers)

    monkeypatch.setattr(type(world.runtime.registry.remote("echo_remote", "default")), "submit", answered)
    monkeypatch.setattr(sending_module, "_wait", lambda _state: 0)
    attempt = world.attempt(world.accept())
    with pytest.raises(Killed):
        submit(world.runtime, attempt.id)
    monkeypatch.undo()
    submit(world.runtime, attempt.id)
    assert world.attempt(attempt.video_id).state == "outcome_unknown"
    assert _submits(world) == 0


def _killed(_seconds: float) -> None:
    raise Killed


def test_without_a_lookup_an_interrupted_submit_stays_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "LooksUp", Unlike)
    video_id = world.accept()
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "outcome_unknown"


class Unlike:
    """No adapter is an instance of this."""


def test_a_lost_answer_is_looked_up_by_the_watcher_and_adopted(world: World) -> None:
    video_id = world.accept(**_at_once(fail="submit_lost"))
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "outcome_unknown"
    _due(world, attempt.id)
    _watch_once(world)
    assert world.attempt(video_id).state == "submitted"
    assert _submits(world) == 1


def test_a_lookup_does_not_take_what_is_another_attempts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.submitted(world.accept(**_at_once()))

    async def lookup(_adapter: Any, _job: Job) -> Ticket:
        return Ticket.model_validate(owner.ticket)

    monkeypatch.setattr(type(world.runtime.registry.remote("echo_remote", "default")), "lookup", lookup)
    watched = world.submitted(world.accept(**_at_once(fail="submit_lost")))
    interrupted = world.attempt(world.accept())
    world.update(interrupted.id, state="submitting")
    assert world.submitted(interrupted.video_id).state == "outcome_unknown"
    after = world.attempt(interrupted.video_id)
    assert (
        after.operator_detail
        == f"echo_remote shows its job {owner.upstream_id}, which is that of {owner.id}."
    )
    for attempt in (watched, interrupted):
        world.look(attempt.id)
        doubtful = world.attempt(attempt.video_id)
        assert (doubtful.state, doubtful.upstream_id, doubtful.tries) == ("outcome_unknown", None, 1)
        assert doubtful.next_poll_at > now()
    assert world.attempt(owner.video_id).upstream_id == owner.upstream_id


@pytest.mark.parametrize(
    "error", [UnexpectedReply("gibberish"), RuntimeError("a bug"), OutcomeUnknown("lost")]
)
def test_whatever_proves_nothing_at_submit_is_an_unknown_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls = _replace_submit(world, monkeypatch, error)
    video_id = world.accept()
    submit(world.runtime, world.attempt(video_id).id)
    assert world.attempt(video_id).state == "outcome_unknown"
    assert len(calls) == 1


def test_an_unknown_outcome_at_the_deadline_releases_the_hold_and_leaves_the_exposure(
    world: World,
) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    world.update_video(video_id, deadline_at=now() - timedelta(seconds=1))
    _due(world, attempt.id)
    _watch_once(world)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "outcome_unknown", 0)
    assert world.money(video_id) == {"hold": 20_000, "estimate": 20_000, "release": 20_000}
    assert world.problems() == []


def test_a_cancel_of_a_job_that_nobody_can_see_lets_it_go(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    cancel_video(world.runtime, world.caller, video_id)
    _watch_once(world)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "cancelled", 0)
    assert world.money(video_id) == {"hold": 20_000, "estimate": 20_000, "release": 20_000}
    assert world.problems() == []


def test_what_was_not_taken_is_sent_again_and_then_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0)
    calls = _replace_submit(world, monkeypatch, Unavailable("not now"))
    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    assert len(calls) == sending_module.TRIES
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "unavailable", 0)
    assert world.money(video_id) == {"hold": 20_000, "estimate": 20_000, "void": 0, "release": 20_000}
    assert "not charged" in str(video.error_message)


def test_a_job_that_the_provider_gave_up_is_released(world: World) -> None:
    video_id = world.accept(**_at_once(fail="job"))
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    _due(world, attempt.id)
    _watch_once(world)
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "gave_up")
    assert world.money(video_id)["release"] == 20_000
    assert world.problems() == []


def _replace_submit(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    calls: list[str] = []

    async def failing(job: Any) -> Ticket:
        calls.append(job.tag)
        raise error

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "submit", failing)
    return calls


def test_a_cancel_before_the_start_is_free_and_immediate(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    cancel_video(world.runtime, world.caller, video_id)
    settle(world.runtime, attempt.id)
    submit(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "cancelled", 0)
    assert _submits(world) == 0
    assert world.problems() == []


def test_a_cancel_reaches_the_provider_and_is_watched_to_its_end(world: World) -> None:
    video_id = world.accept(options={"echo_remote": {"latency_ms": 60_000}})
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    assert cancel_video(world.runtime, world.caller, video_id).status == "in_progress"
    _watch_once(world)
    assert [line["event"] for line in world.bill()] == ["submit", "cancel"]
    settle(world.runtime, attempt.id)
    assert world.video(video_id).error_code == "cancelled"
    assert world.problems() == []


def test_a_cancel_that_comes_too_late_delivers_and_charges(world: World) -> None:
    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    cancel_video(world.runtime, world.caller, video_id)
    _watch_once(world)
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.charge_micro_usd) == ("completed", 20_000)
    assert world.problems() == []


def test_a_provider_that_bills_a_cancelled_job_is_paid_by_the_gateway_not_the_tenant(world: World) -> None:
    video_id = world.accept(options={"echo_remote": {"latency_ms": 60_000}})
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    cancel_video(world.runtime, world.caller, video_id)
    observe(world.runtime, attempt.id, Stopped(billed=True))
    settle(world.runtime, attempt.id)
    money = world.money(video_id)
    assert (money["actual"], money["release"], money.get("charge")) == (20_000, 20_000, None)
    assert world.problems() == []


def test_past_its_deadline_a_job_is_cancelled_at_the_provider(world: World) -> None:
    video_id = world.accept(options={"echo_remote": {"latency_ms": 60_000}})
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    world.update_video(video_id, deadline_at=now() - timedelta(seconds=1))
    _watch_once(world)
    _watch_once(world)
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "deadline_exceeded")
    assert [line["event"] for line in world.bill()] == ["submit", "cancel"]


def test_a_look_that_fails_changes_nothing_and_backs_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(ticket: Ticket) -> Any:
        raise Unavailable("bad gateway")

    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", failing)
    _due(world, attempt.id)
    _watch_once(world)
    after = world.attempt(video_id)
    assert (after.state, after.tries) == ("submitted", 1)
    assert after.next_poll_at > now()


def test_an_unchanged_snapshot_is_not_stored_again(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Running(progress=40, poll_after_ms=2_000))
    observe(world.runtime, attempt.id, Running(progress=30, poll_after_ms=1_000))
    after = world.attempt(video_id)
    assert after.snapshot == {"state": "running", "progress": 30}
    assert world.video(video_id).progress == 40, "progress never goes back"


def test_nothing_moves_a_finished_attempt(world: World) -> None:
    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Succeeded())
    settle(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Running(progress=1))
    assert world.attempt(video_id).state == "succeeded"


def test_a_full_store_keeps_the_paid_result_until_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreFull("no space left")

    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Succeeded())
    with monkeypatch.context() as patch:
        patch.setattr(world.runtime.store, "put", full)
        settle(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "fetching"
    _due(world, attempt.id)
    _watch_once(world)
    assert f"{attempt.id}:1" in world.enqueued()
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    assert world.problems() == []


def test_what_cannot_be_played_is_not_charged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def junk(ticket: Ticket) -> Any:
        yield b"<html>not a video</html>"

    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Succeeded())
    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "content", junk)
    for tries in (0, 1, 2):
        assert world.video(video_id).status == "in_progress", "it may have been broken on its way"
        world.update(attempt.id, tries=tries)
        settle(world.runtime, attempt.id)
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert (video.status, video.error_code, video.charge_micro_usd) == ("failed", "broken_result", 0)
    assert world.money(video_id)["actual"] == 20_000, "the provider bills it all the same"
    assert world.problems() == []


def test_what_was_broken_on_its_way_is_fetched_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = world.runtime.registry.adapters["echo_remote"]
    whole, fetched = adapter.content, []  # type: ignore[union-attr]  # it streams

    async def cut_at_first(ticket: Ticket) -> Any:
        data = b"".join([chunk async for chunk in whole(ticket)])
        fetched.append(len(data))
        yield data if len(fetched) > 1 else data[:1000]

    video_id = world.accept(**_at_once())
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Succeeded())
    monkeypatch.setattr(adapter, "content", cut_at_first)
    settle(world.runtime, attempt.id)
    world.update(attempt.id, tries=1)
    settle(world.runtime, attempt.id)
    assert (world.video(video_id).status, len(fetched)) == ("completed", 2)
    assert world.money(video_id)["charge"] == 20_000


def test_one_account_may_be_many_rows(make_world: Callable[..., World]) -> None:
    world = make_world()
    videos = [world.accept(**_at_once()) for _ in range(20)]
    for video_id in videos:
        submit(world.runtime, world.attempt(video_id).id)
        _due(world, world.attempt(video_id).id)
    _watch_once(world)
    assert {world.attempt(video_id).state for video_id in videos} == {"fetching"}
