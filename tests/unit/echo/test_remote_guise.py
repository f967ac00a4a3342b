"""Echo's remote guise: a provider that is a file and a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.echo._provider import Provider
from adapters.echo._remote import EchoRemote, RemoteOptions
from gateway.kit.cards import load_cards
from gateway.kit.testing import decode, make_job
from gateway.spec import (
    ContentBlocked,
    Failed,
    Job,
    OutcomeUnknown,
    Queued,
    Running,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
)

OFFER = next(offer for offer in load_cards("adapters.echo").offers if offer.adapter == "echo_remote")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def job(**options: Any) -> Job:
    return make_job(OFFER, options=options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    return tmp_path / "echo" / "bill.jsonl"


@pytest.fixture
def adapter(bill: Path, clock: Clock) -> EchoRemote:
    return EchoRemote(RemoteOptions(latency_ms=10_000), bill=bill, now=clock)


def lines(bill: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bill.read_text().splitlines()] if bill.exists() else []


async def test_a_job_passes_through_its_states_by_the_clock(adapter: EchoRemote, clock: Clock) -> None:
    ticket = await adapter.submit(job())
    assert await adapter.poll(ticket) == Queued(poll_after_ms=10_000)
    clock.now += 4
    assert await adapter.poll(ticket) == Running(progress=40, poll_after_ms=6_000)
    clock.now += 6
    done = await adapter.poll(ticket)
    assert isinstance(done, Succeeded)
    assert (done.url, done.usage.seconds) == (None, Decimal(1))


async def test_a_clock_that_is_set_back_does_no_harm(adapter: EchoRemote, clock: Clock) -> None:
    ticket = await adapter.submit(job())
    clock.now -= 3_600
    assert isinstance(await adapter.poll(ticket), Queued)


async def test_the_bill_says_what_was_ordered_and_what_it_costs(adapter: EchoRemote, bill: Path) -> None:
    first, second = job(), job(fail="job")
    ticket = await adapter.submit(first)
    await adapter.submit(second)
    assert [(line["event"], line["tag"], line["usd"]) for line in lines(bill)] == [
        ("submit", first.tag, "0.01"),
        ("submit", second.tag, "0"),
    ]
    await adapter.cancel(ticket)
    assert lines(bill)[2] == {"event": "cancel", "id": ticket.id, "at": 1_000.0}


async def test_the_provider_outlives_the_gateway(adapter: EchoRemote, bill: Path, clock: Clock) -> None:
    ordered = job()
    ticket = await adapter.submit(ordered)
    clock.now += 20
    restarted = EchoRemote(RemoteOptions(), bill=bill, now=clock)
    assert isinstance(await restarted.poll(ticket), Succeeded)
    assert await restarted.lookup(ordered) == ticket


async def test_another_processes_orders_are_seen(adapter: EchoRemote, bill: Path) -> None:
    here = await adapter.submit(job())
    there = await EchoRemote(RemoteOptions(latency_ms=0), bill=bill).submit(job())
    assert isinstance(await adapter.poll(there), Succeeded)
    assert isinstance(await adapter.poll(here), Queued)


def test_a_line_that_is_still_being_written_waits(bill: Path) -> None:
    id = Provider(bill).submit(make_job(OFFER, tag="t1"), 0, "succeeds")
    whole = bill.read_bytes()
    bill.write_bytes(whole[:50])
    reader = Provider(bill)
    assert reader.find("t1") == []
    bill.write_bytes(whole)
    assert reader.find("t1") == [id]


def test_orders_at_once_leave_whole_lines(bill: Path) -> None:
    def order(number: int) -> None:
        Provider(bill).submit(make_job(OFFER, prompt="x" * 9_000, tag=f"t{number}"), 0, "succeeds")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(order, range(64)))
    assert sorted(line["tag"] for line in lines(bill)) == sorted(f"t{number}" for number in range(64))


async def test_a_cancelled_job_stops_once_and_costs_nothing(adapter: EchoRemote, clock: Clock) -> None:
    ticket = await adapter.submit(job())
    assert await adapter.cancel(ticket) is True
    clock.now += 60
    assert await adapter.poll(ticket) == Stopped(billed=False)
    assert await adapter.cancel(ticket) is False


async def test_a_finished_job_cannot_be_cancelled(adapter: EchoRemote, clock: Clock) -> None:
    ticket = await adapter.submit(job())
    clock.now += 60
    assert await adapter.cancel(ticket) is False
    assert isinstance(await adapter.poll(ticket), Succeeded)


@pytest.mark.parametrize(
    ("fail", "error", "taken"),
    [("refused", ContentBlocked, 0), ("submit", Unavailable, 0), ("submit_lost", OutcomeUnknown, 1)],
)
async def test_a_submit_goes_wrong_as_told(
    adapter: EchoRemote, bill: Path, fail: str, error: type[Exception], taken: int
) -> None:
    with pytest.raises(error):
        await adapter.submit(job(fail=fail))
    assert len(lines(bill)) == taken


@pytest.mark.parametrize(("fail", "user_fault"), [("job", False), ("job_user", True)])
async def test_a_job_fails_as_told(adapter: EchoRemote, fail: str, user_fault: bool) -> None:
    snapshot = await adapter.poll(await adapter.submit(job(fail=fail, latency_ms=0)))
    assert isinstance(snapshot, Failed)
    assert (snapshot.user_fault, snapshot.billed) == (user_fault, False)


async def test_two_jobs_of_one_tag_are_not_guessed_between(adapter: EchoRemote) -> None:
    ordered = job()
    await adapter.submit(ordered)
    await adapter.submit(ordered)
    with pytest.raises(OutcomeUnknown, match="2 jobs"):
        await adapter.lookup(ordered)


async def test_a_job_the_bill_does_not_know_is_unexpected(adapter: EchoRemote) -> None:
    with pytest.raises(UnexpectedReply, match="echo-0"):
        await adapter.poll(Ticket(id="echo-0"))
    assert await adapter.cancel(Ticket(id="echo-0")) is False


async def test_the_clip_is_the_same_each_time(adapter: EchoRemote) -> None:
    ticket = await adapter.submit(job(latency_ms=0))
    first, second = [b"".join([chunk async for chunk in adapter.content(ticket)]) for _ in range(2)]
    assert first == second
    assert decode(first).frames == 8


def test_registering_is_light() -> None:
    """A plugin that only declares itself loads none of the heavy packages."""
    code = (
        "import sys, pathlib, adapters.echo as e; from gateway.spec import PluginContext;"
        "e.register_adapters(PluginContext(settings={}, data_dir=pathlib.Path()));"
        "print([m for m in ('torch', 'av', 'numpy', 'PIL', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
