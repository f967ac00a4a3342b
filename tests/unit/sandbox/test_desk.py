"""A job's life by the clock, the bill, and what outlives the sandbox."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.kit.sandbox import Clip
from gateway.sandbox.app import Sandbox, bill_body, bill_path
from gateway.sandbox.desk import Pace, ProviderDesk
from gateway.sandbox.faults import Orders
from gateway.sandbox.records import read_bill

from .toy._sandbox import FakeToy

CLIP = Clip(width=64, height=48, seconds=Decimal(1), fps=8, audio=False)


STEADY = Pace(queue_s=10, render_s=40, jitter=0)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@contextmanager
def opened(folder: Path, clock: Clock, pace: Pace = STEADY) -> Iterator[ProviderDesk]:
    fake = FakeToy()
    sandbox = Sandbox([fake], folder, url="http://127.0.0.1:9", pace=pace, orders=Orders(3), now=clock)
    sandbox.app()
    try:
        assert isinstance(fake.desk, ProviderDesk)
        yield fake.desk
    finally:
        sandbox.close()


def take(desk: ProviderDesk, *, account: str = "default", **given: object) -> str:
    order: dict[str, object] = {"clip": CLIP, "usd": Decimal("0.25"), "prompt": "a fox", "data": {"n": 1}}
    return desk.take(account=account, **{**order, **given}).id  # type: ignore[arg-type]  # as it is given


def test_a_job_is_where_the_clock_says(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as desk:
        job = desk.job(take(desk), account="default")
        assert job is not None
        seen = []
        for clock.at in (1000, 1009.9, 1010, 1025, 1049.9, 1050, 9999):
            seen.append((desk.state(job), desk.percent(job)))
    assert seen == [
        ("queued", 0),
        ("queued", 20),
        ("running", 20),
        ("running", 50),
        ("running", 100),
        ("succeeded", 100),
        ("succeeded", 100),
    ]


def test_times_are_scaled_and_vary_with_the_seed(tmp_path: Path) -> None:
    lasted = []
    for folder in ("a", "b"):
        with opened(tmp_path / folder, Clock(), Pace(jitter=0.3, speed=10)) as desk:
            for slowness in (1.0, 1.0, 1.0, 2.0):
                job = desk.job(take(desk, slowness=slowness), account="default")
                assert job is not None
                lasted.append(job.finished_at - 1000)
    assert lasted[:4] == lasted[4:]
    assert len(set(lasted[:3])) == 3
    assert all(4.5 * 0.7 <= one <= 4.5 * 1.3 for one in lasted[:3])
    assert lasted[3] > 4.5 * 0.7 * 2


def test_only_success_is_billed_and_only_once_it_is_due(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as desk:
        take(desk, tag="att_1")
        take(desk, prompt="[[sandbox:job_failed]]")
        stopped = desk.job(take(desk), account="default")
        assert stopped is not None
        assert desk.cancel(stopped)
        assert not desk.cancel(stopped)
        assert desk.state(stopped) == "cancelled"
    lines = read_bill(bill_path(tmp_path))
    assert [(line.tag, line.fate, line.cancelled_at) for line in lines] == [
        ("att_1", "succeeded", None),
        (None, "failed", None),
        (None, "succeeded", 1000.0),
    ]
    assert [bill_body(lines, at)["billed_usd"] for at in (1049, 1050, 9999)] == ["0", "0.25", "0.25"]


def test_what_was_deleted_stays_on_the_bill(tmp_path: Path) -> None:
    with opened(tmp_path, Clock()) as desk:
        job = desk.job(take(desk), account="default")
        assert job is not None
        desk.forget(job)
        assert desk.job(job.id, account="default") is None
        assert desk.jobs(account="default") == []
    with opened(tmp_path, Clock()) as desk:
        assert desk.jobs(account="default") == []
    assert [(line.job_id, line.prompt) for line in read_bill(bill_path(tmp_path))] == [(job.id, "a fox")]


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock) as desk:
        given = [take(desk, tag=f"att_{n}", prompt="[[sandbox:content_refused_late]]") for n in range(3)]
        before = desk.jobs(account="default")
        url = desk.file_url(before[0], expires_s=60)
    with opened(tmp_path, clock) as desk:
        after = desk.jobs(account="default")
        assert [job.id for job in after] == given[::-1]
        assert after == before
        clock.at = 1050.0
        assert (desk.state(after[0]), desk.failure(after[0])) == ("failed", "content_refused")
        clock.at = 1000.0
        assert desk.file_url(after[0], expires_s=60) == url  # signed with the same key


def test_an_account_sees_its_own_jobs(tmp_path: Path) -> None:
    with opened(tmp_path, Clock()) as desk:
        id = take(desk, account="mine", id="job-1")
        assert desk.job(id, account="other") is None
        assert desk.jobs(account="other") == []
        with pytest.raises(ValueError, match="job-1"):
            take(desk, account="other", id="job-1")


def test_a_list_tells_the_truth_and_uses_up_no_fault(tmp_path: Path) -> None:
    with opened(tmp_path, Clock()) as desk:
        id = take(desk, prompt="[[sandbox:unknown_status]]")
        for job in desk.jobs(account="default"):
            assert desk.state(job) == "queued"
        job = desk.job(id, account="default")
        assert job is not None
        assert desk.state(job) == "unknown"


def test_one_sandbox_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sandbox.records._LOCK_TRIES", 1)
    monkeypatch.setattr("gateway.sandbox.records._LOCK_WAIT_S", 0)
    with (
        opened(tmp_path, Clock()),
        pytest.raises(OSError, match="Another sandbox"),
        opened(tmp_path, Clock()),
    ):
        pass


def test_an_impossible_clip_is_not_taken(tmp_path: Path) -> None:
    with opened(tmp_path, Clock()) as desk, pytest.raises(ValueError, match="cannot draw"):
        take(desk, clip=Clip(width=63, height=48, seconds=Decimal(1), fps=8, audio=False))
    assert read_bill(bill_path(tmp_path)) == []


def test_looking_stays_cheap_among_ten_thousand_jobs(tmp_path: Path) -> None:
    """A look touches no SQL and no other job: the fake of a busy provider answers from memory."""
    with opened(tmp_path, Clock()) as desk:
        ids = [take(desk) for _ in range(200)]
        desk._shared.records._sql.close()  # whatever reads the file fails from here on
        for id in random.Random(1).sample(ids, 50):
            job = desk.job(id, account="default")
            assert job is not None
            assert desk.state(job) == "queued"
