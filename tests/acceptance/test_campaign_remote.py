"""The remote campaign in small: every provider, faults, and a gateway that is killed three times."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.campaigns.remote import PROVIDERS, QUICK, run
from tests.campaigns.remote_report import report


@pytest.mark.timeout(400)
def test_every_promise_is_kept_at_every_provider(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    result = run(seed, QUICK, tmp_path)
    told = report(result)
    print(told)
    assert result.ok, told
    assert (result.verdict.jobs, result.kills) == (QUICK.jobs, QUICK.kills)
    assert result.faulty > 0
    assert len({job.adapter for job in result.bill}) >= len(PROVIDERS) - 1, "which, the seed decides"
