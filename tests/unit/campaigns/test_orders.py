"""The remote campaign's orders: every fault there is, in the share that is asked for."""

from __future__ import annotations

import pytest

from gateway.sandbox.faults import KINDS, RETRY_AFTER, Fault
from tests.campaigns.orders import FAULTS, kinds


def test_every_fault_of_the_sandbox_occurs() -> None:
    ordered = [Fault.parse(fault.order) for fault in FAULTS]
    assert {fault.name for fault in ordered} == set(KINDS)
    forms = {fault.value for fault in ordered if (fault.name, fault.place) == ("rate_limited", "create")}
    assert forms == set(RETRY_AFTER)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_share_of_jobs_with_a_fault_is_as_asked(share: float) -> None:
    sound, stopped, *faulty = (kind.weight for kind in kinds(share))
    assert sum(faulty) / (sound + stopped + sum(faulty)) == pytest.approx(share, abs=0.01)
