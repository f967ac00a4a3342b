"""``reelgate worker`` that has nothing to do, or is asked for what is not there, says so and ends."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli import worker


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--queues", "none", "--slots", "none"), 2, "nothing to do"),
        (("--slots", "gpu/0"), 3, "'gpu/0' fits none of: cpu/0"),
        (("--queues", "settel"), 3, "'settel' fits none of: settle, watch"),
    ],
)
def test_a_worker_without_work_ends_with_the_reason(
    cli: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, says: str
):
    monkeypatch.setattr(worker, "configure_logging", lambda: None)  # the tests have their own
    ran = cli("worker", *arguments)
    assert ran.code == code
    assert says in ran.err
