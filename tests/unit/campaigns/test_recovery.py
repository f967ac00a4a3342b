"""Recovery is timed from a death to the moment somebody else works on what it interrupted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns import recovery
from tests.campaigns.machine import executor_of, family, state
from tests.campaigns.recovery import Recovery


class Watched:
    """A deployment of which only what is read matters."""

    def __init__(self) -> None:
        self.last_death = time.time() - 60  # long ago: what is found now has died just now
        self.pending = [("start:att_a:0", "ex-1"), ("att_b", "ex-1")]
        self.attempts = {"att_a": [1, "running", None], "att_b": [1, "fetching", None]}

    def living(self) -> list[int]:
        """No process at all."""
        return []

    def read(self, sql: str) -> list[dict[str, Any]]:
        """What the two queries ask for."""
        if "workflow_status" in sql:
            return [{"workflow_uuid": name, "executor_id": executor} for name, executor in self.pending]
        names = ("fence", "state", "settled_at")
        rows = {key: dict(zip(names, row, strict=True)) for key, row in self.attempts.items()}
        return [{"id": key, **row} for key, row in rows.items() if f"'{key}'" in sql]


@pytest.fixture
def watched() -> Watched:
    """A gateway whose only process has died at two jobs."""
    return Watched()


def look(watched: Watched, times: int, then: Any = None) -> Recovery:
    """Look at it so often, with something happening after the first time."""
    watching = Recovery(watched)  # type: ignore[arg-type]  # it needs no more of a deployment
    for number in range(times):
        watching._look()
        if number == 0 and then is not None:
            then()
    return watching


def test_what_nobody_takes_up_is_left(watched: Watched) -> None:
    watching = look(watched, 2)
    assert (len(watching._orphans), watching.seconds) == (2, [])


@pytest.mark.parametrize("change", [[2, "running", None], [1, "fetching", None], [1, "failed", "now"]])
def test_a_new_claim_a_new_state_and_an_end_are_recovery(watched: Watched, change: list[Any]) -> None:
    watching = look(watched, 2, lambda: watched.attempts.update(att_a=change))
    assert (set(watching._orphans), len(watching.seconds)) == ({"att_b"}, 1)
    assert watching.seconds[0] < 5
    assert watching.slowest[0][1:] == ("start:att_a:0", "running")


def test_a_settling_that_another_runs_is_taken_up_though_its_attempt_looks_the_same(watched: Watched) -> None:
    watching = look(watched, 2, lambda: watched.pending.__setitem__(1, ("att_b", "ex-2")))
    assert [workflow for _, workflow, _ in watching.slowest] == ["att_b"]
    assert watching._orphans["att_b"].executor == "ex-2", "and that one is dead too"


@pytest.mark.parametrize("row", [[1, "outcome_unknown", None], [1, "submitted", None], [1, "running", "now"]])
def test_what_needs_no_workflow_any_more_is_not_interrupted(watched: Watched, row: list[Any]) -> None:
    watched.attempts["att_a"] = row
    assert set(look(watched, 1)._orphans) == {"att_b"}


def test_the_work_of_a_living_process_is_not_interrupted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "living", lambda: [1])
    monkeypatch.setattr(recovery, "state", lambda _pid: "S")
    monkeypatch.setattr(recovery, "executor_of", lambda _pid: "ex-1")
    assert look(watched, 1)._orphans == {}


def test_that_of_a_stopped_process_is(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "living", lambda: [1])
    monkeypatch.setattr(recovery, "state", lambda _pid: "T")
    monkeypatch.setattr(recovery, "executor_of", lambda _pid: "ex-1")
    assert len(look(watched, 1)._orphans) == 2


def test_the_executor_of_a_process_is_told_by_its_lock(tmp_path: Path) -> None:
    with (tmp_path / "ex-0123abcd.lock").open("w"):
        assert executor_of(os.getpid()) == "ex-0123abcd"
    assert executor_of(os.getpid()) is None
    assert (family(2**22 + 1), state(2**22 + 1)) == ([], "")
    assert family(os.getpid())[0] == os.getpid()
