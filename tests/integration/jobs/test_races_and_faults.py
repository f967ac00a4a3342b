"""Races, deaths and strangers' faults: whatever happens, an attempt ends, and its money with it."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.jobs import attempts as attempts_module
from gateway.jobs import looks as looks_module
from gateway.jobs import render as render_module
from gateway.jobs import render_control
from gateway.jobs import sending as sending_module
from gateway.jobs import settle as settle_module
from gateway.jobs import slots as slots_module
from gateway.jobs import submit as submit_module
from gateway.jobs import watch as watch_module
from gateway.jobs.adoption import adopt
from gateway.jobs.control import cancel_video
from gateway.jobs.looks import OVERTIME, observe, put_off
from gateway.jobs.loop import IoLoop
from gateway.jobs.overdue import LOST_AFTER
from gateway.jobs.render import render
from gateway.jobs.settle import settle
from gateway.jobs.slots import SlotProcess
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.media import StoreFull
from gateway.spec import (
    Asset,
    Cancelled,
    Control,
    Device,
    Job,
    Queued,
    RenderError,
    Running,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
)

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")
LATENT = {"options": {"echo_remote": {"latency_ms": 60_000}}}


def _local(world: World, **fields: Any) -> str:
    return world.accept(**{"model": "echo", "size": "64x64", "seconds": "1", **fields})


def _submitted(world: World, **fields: Any) -> tuple[str, Any]:
    """A video whose job is at the provider, and its attempt."""
    video_id = world.accept(**{**LATENT, **fields})
    submit(world.runtime, world.attempt(video_id).id)
    return video_id, world.attempt(video_id)


def _late(world: World, video_id: str, by: timedelta) -> None:
    """Put the video's deadline in the past, and the attempt's next look to now."""
    world.update_video(video_id, deadline_at=now() - by)
    world.update(world.attempt(video_id).id, next_poll_at=now() - timedelta(seconds=1))


def _watch_once(world: World) -> None:
    async def round_() -> None:
        watcher = Watcher(world.runtime)
        await watcher._tick()
        await asyncio.gather(*watcher._looks)

    world.runtime.io.run(round_())


def _submits(world: World) -> int:
    return sum(line["event"] == "submit" for line in world.bill())


def _remote(world: World, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> list[Any]:
    """Let a method of the remote adapter raise; the list counts its calls."""
    calls: list[Any] = []

    async def raising(argument: Any) -> Any:
        calls.append(argument)
        raise error

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], method, raising)
    return calls


@pytest.fixture
def keyed(make_world: Callable[..., World]) -> World:
    """The model ``echo`` at a provider that knows a repeated submit by its key, and locally."""
    source = {"text": "a test's own price", "date": "2026-01-01", "confidence": "high"}
    price = {"unit": "second", "usd": "0.02", "effective_from": "2026-01-01", "source": source}
    offer = {
        "model": "echo",
        "adapter": "echo_remote",
        "upstream": "echo",
        "submit_policy": "idempotency_key",
        "prices": [price],
    }
    return make_world(offers=(offer,))


def _second_way(world: World) -> str:
    """A video whose first, local way failed and whose second, remote one is planned."""
    video_id = _local(world, options={"echo": {"fail": "render"}})
    render(world.runtime, world.attempt(video_id).id, SLOT)
    settle(world.runtime, world.attempt(video_id).id)
    assert world.attempt(video_id, 2).adapter == "echo_remote"
    return video_id


# --- two at once: what SQLite's single writer hides


def _overtaken(monkeypatch: pytest.MonkeyPatch, module: Any, **values: Any) -> None:
    """Let another process change an attempt between the reading and the claiming of it."""
    original, first = attempts_module.load, [True]

    def load(connection: sa.Connection, attempt_id: str, **more: Any) -> Any:
        row = original(connection, attempt_id, **more)
        if first:
            first.clear()
            table = attempts_module.attempts
            connection.execute(table.update().where(table.c.id == attempt_id).values(**values))
        return row

    monkeypatch.setattr(module, "load", load)


@pytest.mark.parametrize("rival", [{"state": "submitting", "fence": 1}, {"state": "cancelled"}])
def test_a_submit_that_loses_its_claim_sends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, rival: dict[str, Any]
) -> None:
    video_id = world.accept()
    _overtaken(monkeypatch, submit_module, **rival)
    submit(world.runtime, world.attempt(video_id).id)
    assert _submits(world) == 0


def test_a_render_that_loses_its_claim_renders_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def body(job: Job, device: Device, control: Control) -> Asset:
        rendered.append(job.tag)
        raise Cancelled("enough")

    monkeypatch.setattr(world.runtime.registry.adapters["echo"], "render", body)
    video_id = _local(world)
    _overtaken(monkeypatch, render_module, state="running", fence=1)
    render(world.runtime, world.attempt(video_id).id, SLOT)
    assert rendered == []


def test_a_failed_look_does_not_give_up_what_another_look_saw_finished(world: World) -> None:
    video_id, _ = _submitted(world)
    _late(world, video_id, OVERTIME + timedelta(minutes=1))
    watcher = Watcher(world.runtime)
    (stale,) = watcher._claim_due()
    observe(world.runtime, stale.id, Succeeded())
    put_off(world.runtime, stale, Unavailable("bad gateway"))
    assert world.attempt(video_id).state == "fetching"
    settle(world.runtime, stale.id)
    assert world.video(video_id).status == "completed"


def test_a_job_found_after_it_was_given_up_is_not_watched_again(world: World) -> None:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    world.update(attempt.id, state="submitting")
    submit(world.runtime, attempt.id)
    with world.runtime.db.read() as connection:
        row = attempts_module.load(connection, attempt.id)
    cancel_video(world.runtime, world.caller, video_id)
    _watch_once(world)
    assert world.video(video_id).status == "failed"
    with world.runtime.db.write() as connection:
        assert not adopt(connection, row, Ticket(id="late"), fence=row.fence)


def test_a_cancel_between_a_failure_and_its_settling_plans_no_other_way(
    keyed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = _local(keyed, options={"echo": {"fail": "render"}})
    attempt = keyed.attempt(video_id)
    render(keyed.runtime, attempt.id, SLOT)
    real_write = keyed.runtime.db.write

    def write() -> Any:
        monkeypatch.setattr(keyed.runtime.db, "write", real_write)
        cancel_video(keyed.runtime, keyed.caller, video_id)
        return real_write()

    monkeypatch.setattr(keyed.runtime.db, "write", write)
    settle(keyed.runtime, attempt.id)
    assert keyed.video(video_id).error_code == "cancelled"


def test_a_row_that_is_being_looked_at_is_not_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    _, attempt = _submitted(world)

    async def slow(ticket: Ticket) -> Any:
        looks.append(ticket.id)
        await asyncio.sleep(0.5)
        return Running(progress=1)

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", slow)

    async def rounds() -> None:
        watcher = Watcher(world.runtime)
        for _ in range(3):
            await asyncio.to_thread(world.update, attempt.id, next_poll_at=now() - timedelta(seconds=1))
            await watcher._tick()
        await asyncio.gather(*watcher._looks)

    world.runtime.io.run(rounds())
    assert len(looks) == 1


def test_a_look_that_takes_long_keeps_its_row_from_other_watchers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "RENEW_EVERY", timedelta(0))
    _, attempt = _submitted(world)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(ticket: Ticket) -> Any:
        begun.set()
        await go_on.wait()
        return Running(progress=1)

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", slow)

    async def rounds() -> tuple[datetime, datetime]:
        watcher = Watcher(world.runtime)
        await asyncio.to_thread(world.update, attempt.id, next_poll_at=now() - timedelta(seconds=1))
        await watcher._tick()
        await begun.wait()
        first = world.attempt(attempt.video_id).next_poll_at
        await watcher._tick()
        renewed = world.attempt(attempt.video_id).next_poll_at
        go_on.set()
        await asyncio.gather(*watcher._looks)
        await watcher._tick()
        return first, renewed

    first, renewed = world.runtime.io.run(rounds())
    assert now() < first < renewed <= now() + watch_module.LEASE, "one that dies holds nothing up for long"
    assert world.attempt(attempt.video_id).next_poll_at < first, "what the look brought stands"


# --- an ambiguous submit is never followed by another


@pytest.mark.parametrize("error", [Unavailable("not now"), KeyError("echo_remote")])
def test_a_submit_that_died_and_cannot_be_repeated_stays_unknown(
    keyed: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0)
    video_id = _second_way(keyed)
    attempt = keyed.attempt(video_id, 2)
    keyed.update(attempt.id, state="submitting")
    _remote(keyed, monkeypatch, "submit", error)
    submit(keyed.runtime, attempt.id)
    assert keyed.attempt(video_id, 2).state == "outcome_unknown"


def test_a_submit_that_died_is_sent_again_under_its_key(keyed: World) -> None:
    video_id = _second_way(keyed)
    attempt = keyed.attempt(video_id, 2)
    keyed.update(attempt.id, state="submitting")
    submit(keyed.runtime, attempt.id)
    assert keyed.attempt(video_id, 2).state == "submitted"


@pytest.mark.parametrize("hours", [0, 2])
def test_what_is_to_be_stopped_or_is_old_is_not_sent_again_under_its_key(keyed: World, hours: int) -> None:
    video_id = _second_way(keyed)
    attempt = keyed.attempt(video_id, 2)
    keyed.update(attempt.id, state="submitting", created_at=now() - timedelta(hours=hours))
    if not hours:
        cancel_video(keyed.runtime, keyed.caller, video_id)
    submit(keyed.runtime, attempt.id)
    assert keyed.attempt(video_id, 2).state == "outcome_unknown"
    assert _submits(keyed) == 0


def test_a_submit_that_died_and_whose_adapter_is_gone_stays_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = world.accept()
    world.update(world.attempt(video_id).id, state="submitting")
    monkeypatch.delitem(world.runtime.registry.adapters, "echo_remote")
    submit(world.runtime, world.attempt(video_id).id)
    assert world.attempt(video_id).state == "outcome_unknown"


def test_a_gateway_that_ends_while_a_provider_is_busy_hands_the_submit_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        calls = _remote(world, patch, "submit", Unavailable("not now"))
        video_id = world.accept()
        attempt = world.attempt(video_id)
        world.runtime.stopping.set()
        submit(world.runtime, attempt.id)
    world.runtime.stopping.clear()
    assert len(calls) == 1
    assert world.attempt(video_id).state == "planned"
    assert f"start:{attempt.id}:1" in world.enqueued()
    submit(world.runtime, attempt.id)
    assert world.attempt(video_id).state == "submitted"


def test_an_adopted_job_carries_no_trace_of_the_doubt(world: World) -> None:
    video_id = world.accept(options={"echo_remote": {"latency_ms": 0, "fail": "submit_lost"}})
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    world.update(attempt.id, next_poll_at=now() - timedelta(seconds=1))
    _watch_once(world)
    after = world.attempt(video_id)
    assert (after.state, after.error_code, after.error_message) == ("submitted", None, None)


# --- every state is left, whatever breaks


def test_a_submit_whose_workflow_is_lost_ends_after_the_deadline(world: World) -> None:
    video_id = world.accept()
    world.update(world.attempt(video_id).id, state="submitting")
    _late(world, video_id, LOST_AFTER + timedelta(minutes=1))
    world.update(world.attempt(video_id).id, next_poll_at=None)
    for _ in range(3):
        _watch_once(world)
    assert world.video(video_id).status == "failed"
    assert world.money(video_id)["release"] == 20_000
    assert world.problems() == []


def test_a_planned_attempt_whose_workflow_is_lost_ends_after_the_deadline(world: World) -> None:
    video_id = world.accept()
    world.update_video(video_id, stop_requested_at=now(), stop_reason="caller")
    _late(world, video_id, LOST_AFTER + timedelta(minutes=1))
    world.update(world.attempt(video_id).id, next_poll_at=None)
    _watch_once(world)
    settle(world.runtime, world.attempt(video_id).id)
    assert world.video(video_id).status == "failed"


def test_a_job_that_never_ends_is_given_up_long_after_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id, _ = _submitted(world)

    async def forever(ticket: Ticket) -> Any:
        return Running(progress=50)

    async def declined(ticket: Ticket) -> bool:
        return False

    adapter = world.runtime.registry.adapters["echo_remote"]
    monkeypatch.setattr(adapter, "poll", forever)
    monkeypatch.setattr(adapter, "cancel", declined)
    _late(world, video_id, OVERTIME + timedelta(minutes=1))
    _watch_once(world)
    video = world.video(video_id)
    assert (video.status, video.error_code) == ("failed", "deadline_exceeded")
    assert world.money(video_id) == {"hold": 20_000, "estimate": 20_000, "release": 20_000}
    assert world.problems() == []


def test_a_job_whose_adapter_was_removed_is_given_up_long_after_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id, _ = _submitted(world)
    monkeypatch.delitem(world.runtime.registry.adapters, "echo_remote")
    _late(world, video_id, OVERTIME + timedelta(minutes=1))
    _watch_once(world)
    assert world.video(video_id).status == "failed"
    assert world.problems() == []


def test_a_cancel_that_an_adapter_cannot_do_does_not_end_the_watching(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id, _ = _submitted(world)
    _remote(world, monkeypatch, "cancel", RuntimeError("a bug"))

    async def done(ticket: Ticket) -> Any:
        return Succeeded()

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", done)
    cancel_video(world.runtime, world.caller, video_id)
    _watch_once(world)
    assert world.attempt(video_id).state == "fetching"


def test_a_look_that_never_ends_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "LOOK_S", 0.05)
    video_id, attempt = _submitted(world)

    async def hanging(ticket: Ticket) -> Any:
        await asyncio.sleep(2)
        return Running()

    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll", hanging)
    world.update(attempt.id, next_poll_at=now() - timedelta(seconds=1))
    _watch_once(world)
    assert world.attempt(video_id).tries == 1
    assert "Timeout" in world.attempt(video_id).operator_detail


def test_one_row_that_cannot_be_recorded_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _submitted(world)[1], _submitted(world)[1]
    original = looks_module._ended

    def picky(connection: Any, resources: Any, row: Any, *rest: Any) -> None:
        if row.id == first.id:
            raise ValueError("cannot be stored")
        original(connection, resources, row, *rest)

    async def many(tickets: list[Ticket]) -> Any:
        return [Succeeded() for _ in tickets]

    monkeypatch.setattr(looks_module, "_ended", picky)
    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "poll_many", many, raising=False)
    for attempt in (first, second):
        world.update(attempt.id, next_poll_at=now() - timedelta(seconds=1))
    _watch_once(world)
    assert world.attempt(second.video_id).state == "fetching"
    assert world.attempt(first.video_id).tries == 1, "it is looked at again later"


@pytest.mark.parametrize("error", [sa.exc.OperationalError("UPDATE", {}, Exception("full")), KeyError("bug")])
def test_the_watcher_outlives_what_goes_wrong_in_a_round(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    world.update(attempt.id, next_poll_at=now() - timedelta(seconds=1))

    def raising(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(watch_module, "PAUSE_S", 0.0)
        patch.setattr(watch_module, "enqueue_settle", raising)
        _watch_once(world)
    world.update(attempt.id, next_poll_at=now() - timedelta(seconds=1))
    _watch_once(world)
    assert any(enqueued.startswith(f"{attempt.id}:") for enqueued in world.enqueued())


# --- settling


def test_what_cannot_be_played_is_settled_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def junk(ticket: Ticket) -> Any:
        yield b"<html>not a video</html>"

    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "content", junk)
    world.update(attempt.id, tries=2)
    settle(world.runtime, attempt.id)
    assert world.video(video_id).error_code == "broken_result"
    assert world.attempt(video_id).next_poll_at is None
    assert world.problems() == []


@pytest.mark.parametrize("late", [False, True])
def test_a_strangers_fault_while_fetching_is_tried_again_until_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    async def buggy(ticket: Ticket) -> Any:
        raise ZeroDivisionError("a bug")
        yield b""

    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    monkeypatch.setattr(world.runtime.registry.adapters["echo_remote"], "content", buggy)
    if late:
        _late(world, video_id, timedelta(seconds=1))
    settle(world.runtime, attempt.id)
    expected = ("failed", "not_delivered") if late else ("in_progress", None)
    assert (world.video(video_id).status, world.video(video_id).error_code) == expected
    assert world.problems() == []


def test_the_fiftieth_try_waits_as_long_as_the_tenth(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreFull("no space left")

    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    world.update(attempt.id, tries=50)
    monkeypatch.setattr(world.runtime.store, "put", full)
    settle(world.runtime, attempt.id)
    wait = world.attempt(video_id).next_poll_at - now()
    assert timedelta(seconds=290) < wait <= timedelta(seconds=300)


def test_a_long_download_is_not_started_a_second_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leases: list[timedelta] = []
    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    original = settle_module._fetch

    def fetch(resources: Any, row: Any, to: Path) -> Path:
        leases.append(world.attempt(video_id).next_poll_at - now())
        return original(resources, row, to)

    monkeypatch.setattr(settle_module, "_fetch", fetch)
    settle(world.runtime, attempt.id)
    assert leases[0] > timedelta(seconds=600), "the longest a download may take"


def test_a_full_store_is_not_a_reason_to_pay_for_another_way(
    keyed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StoreFull("no space left")

    monkeypatch.setattr(keyed.runtime.store, "put", full)
    video_id = _local(keyed)
    render(keyed.runtime, keyed.attempt(video_id).id, SLOT)
    settle(keyed.runtime, keyed.attempt(video_id).id)
    video = keyed.video(video_id)
    assert (video.status, video.error_code, len(video.attempts)) == ("failed", "storage_unavailable", 1)


def test_a_disk_that_fills_under_the_adapters_own_hands_is_the_storages_fault(
    keyed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_room(*_: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RenderError("the clip could not be written") from error

    monkeypatch.setattr(keyed.runtime.registry.adapters["echo"], "render", out_of_room)
    video_id = _local(keyed)
    render(keyed.runtime, keyed.attempt(video_id).id, SLOT)
    settle(keyed.runtime, keyed.attempt(video_id).id)
    video = keyed.video(video_id)
    assert (video.status, video.error_code, len(video.attempts)) == ("failed", "storage_unavailable", 1)


def test_the_device_time_of_a_cancelled_render_is_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_module, "_elapsed", lambda begun: 3_600_000)

    def stopped(job: Job, device: Device, control: Control) -> Asset:
        cancel_video(world.runtime, world.caller, video_id)
        raise Cancelled("stopped")

    monkeypatch.setattr(world.runtime.registry.adapters["echo"], "render", stopped)
    video_id = _local(world)
    render(world.runtime, world.attempt(video_id).id, SLOT)
    settle(world.runtime, world.attempt(video_id).id)
    assert world.money(video_id)["actual"] == 100_000
    assert "void" not in world.money(video_id)


def test_a_job_that_its_provider_stopped_unasked_says_so(world: World) -> None:
    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Stopped())
    settle(world.runtime, attempt.id)
    video = world.video(video_id)
    assert video.error_code == "cancelled"
    assert "not charged" in str(video.error_message)


# --- renders


def test_progress_that_cannot_be_written_does_not_fail_the_render(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_control, "PROGRESS_EVERY_S", 0.0)

    def locked(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))

    video_id = _local(world)
    with monkeypatch.context() as patch:
        patch.setattr(render_control, "progressed", locked)
        render(world.runtime, world.attempt(video_id).id, SLOT)
    assert world.attempt(video_id).state == "fetching"


def test_a_scratch_folder_that_cannot_be_made_fails_the_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.runtime.settings.run_dir.mkdir(parents=True, exist_ok=True)
    world.runtime.scratch.write_text("in the way")
    video_id = _local(world)
    render(world.runtime, world.attempt(video_id).id, SLOT)
    assert world.attempt(video_id).state == "failed"
    world.runtime.scratch.unlink()


def test_a_provider_that_queues_again_is_still_watched(world: World) -> None:
    video_id, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Running(progress=10))
    observe(world.runtime, attempt.id, Queued())
    assert world.attempt(video_id).state == "queued"


# --- the end of the process


def test_work_that_waits_on_the_loop_is_let_go_when_it_closes() -> None:
    loop, ended, begun = IoLoop(), threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def work() -> None:
        with pytest.raises(CancelledError):
            loop.run(forever())
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert begun.wait(5)
    loop.close()
    assert ended.wait(5), "a thread that waits for ever keeps the process from ending"


def _until(condition: Callable[[], object], seconds: float = 20) -> None:
    tick, rounds = threading.Event(), int(seconds / 0.02)
    assert any(condition() or tick.wait(0.02) for _ in range(rounds)), f"not so within {seconds} s"


def test_a_worker_that_cannot_be_started_now_is_started_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots_module, "RESTART_AFTER_S", 0.01)
    tries: list[int] = []

    def run_once(self: SlotProcess) -> int:
        tries.append(1)
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(SlotProcess, "_run_once", run_once)
    slot = SlotProcess(world.runtime.settings, SLOT, "supervisor")
    slot.start()
    _until(lambda: len(tries) > 1)
    slot.stop()
    assert slot.pid is None


# --- the ledger's own check


def test_verify_names_an_estimate_that_was_never_closed(world: World) -> None:
    _, attempt = _submitted(world)
    observe(world.runtime, attempt.id, Succeeded())
    settle(world.runtime, attempt.id)
    assert world.problems() == []
    entries = sa.text("DELETE FROM ledger_entries WHERE kind = 'actual'")
    with world.runtime.db.write() as connection:
        connection.execute(entries)
    assert any(attempt.id in problem for problem in world.problems())
