"""What makes the remote campaign fail, and how it says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.campaigns.checker import DOUBLE_CHARGE, BilledJob, Exposure, Verdict, Violation
from tests.campaigns.remote_report import Result, report

TAKEN = BilledJob(adapter="veo", id="v-1", tag="att_1", usd=Decimal("0.30"))
LOST = BilledJob(adapter="veo", id="v-2", tag="att_2", usd=Decimal("0.20"))
VERDICT = Verdict(
    jobs=3,
    ends={"completed": 2, "failed outcome_unknown": 1},
    violations=(),
    orphans=0,
    exposures=[
        Exposure(attempt_id="att_2", adapter="veo", job=LOST),
        Exposure(attempt_id="att_3", adapter="veo", job=None),
    ],
    recorded=300_000,
)
KEPT = Result(
    seed=7,
    verdict=VERDICT,
    bill=[TAKEN, LOST],
    kills=20,
    faulty=1,
    ends={"": Counter(completed=2), "drop_after_accept": Counter(outcome_unknown=1)},
    wrong=(),
    resets={},
    asked_again={503: 4},
    wall_s=90,
)


def test_a_bill_that_the_ledger_and_the_listed_attempts_explain_is_in_order() -> None:
    assert KEPT.ok
    told = report(KEPT)
    assert "att_2 at veo: taken as v-2, billed $0.20" in told
    assert "att_3 at veo: not taken" in told
    assert "billed $0.500000 = recorded $0.300000 + $0.200000 of 2 attempts of unknown outcome, 1 of" in told
    assert "drop_after_accept                1  outcome_unknown 1" in told


@pytest.mark.parametrize(
    "broken",
    [
        replace(KEPT, verdict=replace(VERDICT, recorded=300_001)),
        replace(KEPT, verdict=replace(VERDICT, violations=[Violation(DOUBLE_CHARGE, "video_1", "held 1")])),
        replace(KEPT, wrong=["serve ended with status 1"]),
    ],
)
def test_any_difference_breaks_it(broken: Result) -> None:
    assert not broken.ok
    assert "BROKEN" in report(broken)
