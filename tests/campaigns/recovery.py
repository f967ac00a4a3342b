"""How long it takes until work whose process died, or was stopped, is taken up again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from typing_extensions import override

from .deployment import Deployment, OnPostgres
from .machine import executor_of, state

LOOK_EVERY_S = 0.1
KEPT = 10
NOTICED_WITHIN_S = 1.0
"""A death is seen within this; what is found interrupted later has died unnoticed just now."""

STARTING, SETTLING = ("planned", "submitting", "running"), ("fetching", "failed", "cancelled")
"""The states in which an attempt depends on the workflow that starts it, and on the one that settles it."""

Mark = tuple[int, str, bool]
"""An attempt's fence, state, and whether its books are closed: any change means that somebody works on it."""


@dataclass
class Orphan:
    """Work whose executor is gone."""

    since: float
    mark: Mark
    executor: str


class Recovery(threading.Thread):
    """Watches from outside: the engine's list of running work, the processes that live, and the attempts.

    An attempt is interrupted when work that it needs is down as running in an executor that no living process
    is; it is taken up again when another executor runs that work, or the attempt is claimed anew (its fence
    grew), moved on or settled.
    """

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(name="recovery", daemon=True)
        self.seconds: list[float] = []
        self.slowest: list[tuple[float, str, str]] = []
        """The longest that it took: seconds, workflow, and the state that the attempt was in."""
        self._deployment = deployment
        self._read = deployment.read
        self._engine = "dbos.workflow_status" if isinstance(deployment, OnPostgres) else "workflow_status"
        self._orphans: dict[str, Orphan] = {}
        self._over = threading.Event()

    @override
    def run(self) -> None:
        """Look until told to stop; a database that does not answer is asked again."""
        while not self._over.wait(LOOK_EVERY_S):
            try:
                self._look()
            except (sqlite3.Error, psycopg.Error):
                continue

    def stop(self) -> int:
        """Stop, and return how many attempts nobody has taken up."""
        self._over.set()
        self.join()
        return len(self._orphans)

    def _look(self) -> None:
        at, died = time.time(), self._deployment.last_death
        since = died if at - died < NOTICED_WITHIN_S else at
        awake = self._awake()
        sql = f"SELECT workflow_uuid, executor_id FROM {self._engine} WHERE status = 'PENDING'"
        running = {row["workflow_uuid"]: row["executor_id"] for row in self._read(sql)}
        dead = {workflow for workflow, executor in running.items() if executor not in awake}
        marks = self._marks({_attempt_of(workflow) for workflow in dead | self._orphans.keys()})
        for workflow, orphan in list(self._orphans.items()):
            executor = running.get(workflow, orphan.executor)
            if marks.get(_attempt_of(workflow)) != orphan.mark or executor != orphan.executor:
                self._taken_up(workflow, at - orphan.since)
                dead -= {workflow} if executor in (orphan.executor, None) else set()
        for workflow in dead - self._orphans.keys():
            mark = marks.get(_attempt_of(workflow))
            if mark is not None and mark[1] in _states_of(workflow) and not mark[2]:
                self._orphans[workflow] = Orphan(since=since, mark=mark, executor=running[workflow])

    def _taken_up(self, workflow: str, seconds: float) -> None:
        orphan = self._orphans.pop(workflow)
        self.seconds.append(seconds)
        self.slowest = sorted([*self.slowest, (seconds, workflow, orphan.mark[1])])[-KEPT:]

    def _marks(self, attempt_ids: set[str]) -> Mapping[str, Mark]:
        if not attempt_ids:
            return {}
        names = ", ".join(f"'{name}'" for name in sorted(attempt_ids))
        rows = self._read(f"SELECT id, fence, state, settled_at FROM attempts WHERE id IN ({names})")
        return {row["id"]: (row["fence"], row["state"], row["settled_at"] is not None) for row in rows}

    def _awake(self) -> set[str | None]:
        pids = [pid for pid in self._deployment.living() if state(pid) not in ("T", "")]
        if isinstance(self._deployment, OnPostgres):
            leases: Sequence[Mapping[str, Any]] = self._read("SELECT executor_id, pid FROM leases")
            return {row["executor_id"] for row in leases if row["pid"] in pids}
        return {executor_of(pid) for pid in pids}


def _attempt_of(workflow_id: str) -> str:
    """``start:<attempt>:<fence>``, ``<attempt>`` or ``<attempt>:<tries>``."""
    return next(part for part in workflow_id.split(":") if part.startswith("att_"))


def _states_of(workflow_id: str) -> tuple[str, ...]:
    return STARTING if workflow_id.startswith("start:") else SETTLING
