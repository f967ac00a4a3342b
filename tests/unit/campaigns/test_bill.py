"""Whose a provider's job is where the provider keeps no tag, and what a sandbox's bill comes to."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.kit.sandbox import Clip, FakeJob
from gateway.sandbox.records import Fate, Held, Records
from tests.campaigns.checker import (
    BILL,
    DOUBLE_SUBMIT,
    BilledJob,
    Evidence,
    Verdict,
    check,
    read_sandbox_bill,
    sqlite_reader,
)

from .conftest import REMOTE, Gateway

PROMPT = "campaign job-1"
ATTEMPT = f"att_{REMOTE}"


@pytest.fixture
def untagged(gateway: Gateway) -> Gateway:
    """Its provider keeps no tag: the ticket and the prompt are all there is."""
    gateway.sql("UPDATE videos SET request = ? WHERE id = ?", f'{{"prompt": "{PROMPT}"}}', REMOTE)
    gateway.sql("UPDATE attempts SET upstream_id = 'echo-1' WHERE id = ?", ATTEMPT)
    return gateway


def job(id: str, prompt: str = PROMPT) -> BilledJob:
    return BilledJob(adapter="echo_remote", id=id, tag=None, usd=Decimal("0.005"), prompt=prompt)


def judged(gateway: Gateway, *bill: BilledJob, unlookable: str = "") -> Verdict:
    read = sqlite_reader(gateway.folder / "reelgate.db")
    evidence = Evidence(
        read=read,
        store=gateway.store,
        bill=bill,
        told=gateway.told,
        unlookable=frozenset({unlookable}),
    )
    return check(evidence)


def test_a_job_is_known_by_its_ticket(untagged: Gateway) -> None:
    verdict = judged(untagged, job("echo-1"))
    assert list(verdict.violations) == []
    assert verdict.recorded == 14 + 5_000


def test_a_second_job_of_the_prompt_is_a_second_submit(untagged: Gateway) -> None:
    verdict = judged(untagged, job("echo-2"), job("echo-1"))
    assert DOUBLE_SUBMIT in {violation.kind for violation in verdict.violations}


def test_a_job_of_no_prompt_of_ours_is_nobodys(untagged: Gateway) -> None:
    verdict = judged(untagged, job("echo-1"), job("echo-2", "another"))
    assert [(one.kind, one.subject) for one in verdict.violations] == [(BILL, "echo-2")]


@pytest.mark.parametrize(("unlookable", "broken"), [("echo_remote", False), ("", True)])
def test_a_job_whose_submit_was_lost_is_listed(untagged: Gateway, unlookable: str, broken: bool) -> None:
    lost = "UPDATE attempts SET state = 'outcome_unknown', ticket = NULL, upstream_id = NULL WHERE id = ?"
    untagged.sql(lost, ATTEMPT)
    verdict = judged(untagged, job("echo-7"), unlookable=unlookable)
    assert [(one.attempt_id, one.job) for one in verdict.exposures] == [(ATTEMPT, job("echo-7"))]
    assert (BILL in {violation.kind for violation in verdict.violations}) is broken


def test_a_sandbox_bills_what_succeeded(tmp_path: Path) -> None:
    records = Records(tmp_path / "sandbox.db")
    kept = [held(records, "a", "succeeded"), held(records, "b", "failed"), held(records, "c", "succeeded")]
    records.cancel(kept[2], at=0)
    records.close()
    assert [
        (one.adapter, one.id, one.tag, one.usd, one.prompt)
        for one in read_sandbox_bill(tmp_path / "sandbox.db")
    ] == [
        ("toy", "a", "att_a", Decimal("0.25"), "a fox"),
        ("toy", "b", "att_b", Decimal(0), "a fox"),
        ("toy", "c", "att_c", Decimal(0), "a fox"),
    ]


def held(records: Records, id: str, fate: Fate) -> Held:
    made = FakeJob(
        id=id,
        account="default",
        clip=Clip(width=64, height=48, seconds=Decimal(1), fps=8, audio=False),
        usd=Decimal("0.25"),
        created_at=0,
        started_at=0,
        finished_at=0,
        tag=f"att_{id}",
    )
    one = Held(provider="toy", job=made, fate=fate)
    records.take(one, "a fox")
    return one
