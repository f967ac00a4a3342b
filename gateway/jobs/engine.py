"""The durable engine (DBOS Transact) behind the few calls that we make of it.

DBOS holds control flow only: which workflow is enqueued, running or done. A workflow's one argument is an
attempt id; everything else is read from our own tables, so a workflow may run again from its start at any
time and must claim its work there. Facts relied on here are in docs/decisions/0002-durable-engine.md.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig
from dbos import Serializer as DBOSSerializer
from typing_extensions import override

from gateway.db import Database
from gateway.jobs.persist import DATABASE_FAILURES
from gateway.jobs.presence import Presence

APPLICATION = "reelgate"

APPLICATION_VERSION = "schema-1"
"""Constant: DBOS leaves work of another version untouched, and its default is a hash of the code."""

REAP_EVERY_S = 1.0
ORPHANS_EVERY_S = 5.0
"""A process that was killed may have left a commit in flight, which lands after its work was recovered."""

STOP_WITHIN_S = 10
POLL_S = 0.2
HISTORY_BATCH = 1000
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
log = logging.getLogger(__name__)
Workflow = Callable[[str], None]


class _Abandoned(BaseException):
    """Leaves a workflow as it is, for another process: an Exception would be its end in the engine's eyes."""


class JsonSerializer(DBOSSerializer):
    """JSON instead of DBOS's pickle, so that who can write a row cannot run code.

    Results are None; an exception that ends a workflow is kept as its text.
    """

    @override
    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=repr)

    @override
    def deserialize(cls, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    @override
    def name(self) -> str:
        return "reelgate_json"


def migrate_engine(url: sa.URL) -> None:
    """Bring the engine's own tables up to date; they share the database with ours."""
    DBOS.migrate(url.render_as_string(hide_password=False))


class Enqueuer:
    """Enqueues workflows inside a caller's own transaction; needs no workflow code."""

    def __init__(self, db: Database) -> None:
        self._client = DBOSClient(
            system_database_url=_url(db),
            system_database_engine=_pool(db),
            serializer=JsonSerializer(),
            application_name=APPLICATION,
            lazy=True,
        )

    def enqueue(
        self,
        connection: sa.Connection,
        *,
        workflow: str,
        queue: str,
        workflow_id: str,
        attempt_id: str,
        priority: int = 1,
    ) -> None:
        """Add a workflow to a queue; it exists once the caller's transaction commits. An id counts once.

        Of those that wait the lowest ``priority`` starts first, then the oldest.
        """
        self._client.enqueue_in_transaction(
            connection,
            {
                "workflow_name": workflow,
                "queue_name": queue,
                "workflow_id": workflow_id,
                "app_version": APPLICATION_VERSION,
                "priority": priority,
            },
            attempt_id,
        )

    def close(self) -> None:
        """Close the client's connections."""
        self._client.destroy()


class Engine:
    """One process's executor: runs the workflows of its queues, and recovers the work of dead processes."""

    def __init__(self, db: Database, presence: Presence) -> None:
        self._db = db
        self._presence = presence
        self._stop = threading.Event()
        self._reaper: threading.Thread | None = None
        self._active: set[object] = set()

    def start(self, workflows: Mapping[str, Workflow], queues: Mapping[str, int]) -> None:
        """Start executing: ``queues`` maps each queue's name to how many of its jobs may run here at once.

        The process's presence must have been started: its work is told by it to be that of a living one.
        """
        config = DBOSConfig(
            name=APPLICATION,
            application_version=APPLICATION_VERSION,
            executor_id=self._presence.executor_id,
            serializer=JsonSerializer(),
            log_level="WARNING",
            run_migrations=False,
            use_listen_notify=False,
            system_database_url=_url(self._db),
            system_database_engine=_pool(self._db),
        )
        DBOS(config=config)
        for name, function in workflows.items():
            # a job that kills its workers is ended by its own count of deaths, not given up silently
            DBOS.workflow(name=name, max_recovery_attempts=None)(self._durable(function, name))
        DBOS.listen_queues(list(queues))
        DBOS.launch()
        for queue, concurrency in queues.items():
            DBOS.register_queue(
                queue,
                worker_concurrency=concurrency,
                polling_interval_sec=POLL_S,
                on_conflict="always_update",
            )
        self._reaper = threading.Thread(target=self._reap, name="reaper", daemon=True)
        self._reaper.start()

    def stop(self, *, finish_within_s: float, hand_back: Callable[[], None]) -> bool:
        """Take nothing new, and stop executing; False if something is still at work in this process.

        What runs has ``finish_within_s`` to end by itself; then ``hand_back`` is called, which asks it to,
        and what has not ended ``STOP_WITHIN_S`` later is left to the end of the process.
        """
        self._stop.set()
        if self._reaper is not None:
            self._reaper.join()
        timer = threading.Timer(finish_within_s, hand_back)
        timer.start()
        patience = math.ceil(finish_within_s) + STOP_WITHIN_S
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=patience)
        timer.cancel()
        hand_back()
        if self._active:  # only the end of this process proves to the others that its work has stopped
            log.warning("still at work after %g s, and left to the end of the process", finish_within_s)
        return not self._active

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._reaper is not None and not self._stop.is_set()

    def forget_history(self, before: datetime) -> int:
        """Delete up to ``HISTORY_BATCH`` finished workflows from before then; returns how many."""
        old = DBOS.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"],
            completed_before=before.isoformat(),
            limit=HISTORY_BATCH,
            load_input=False,
            load_output=False,
        )
        if old:
            DBOS.delete_workflows([workflow.workflow_id for workflow in old])
        return len(old)

    def _durable(self, function: Workflow, name: str) -> Workflow:
        """The workflow of this name. While the database fails it is run again, from its start: DBOS takes an
        exception for a workflow's end, and nothing would run it any more."""

        def workflow(attempt_id: str) -> None:
            run = object()
            self._active.add(run)
            try:
                self._run(function, attempt_id)
            finally:
                self._active.discard(run)

        workflow.__qualname__ = workflow.__name__ = name
        return workflow

    def _run(self, function: Workflow, attempt_id: str) -> None:
        wait = RETRY_FIRST_S
        while True:
            try:
                return function(attempt_id)
            except DATABASE_FAILURES as error:
                if self._stop.is_set():
                    raise _Abandoned from error
                log.error("attempt %s: the database failed; again in %g s: %s", attempt_id, wait, error)
            self._stop.wait(wait)
            wait = min(wait * 2, RETRY_LONGEST_S)

    def _reap(self) -> None:
        orphans_at = time.monotonic() + ORPHANS_EVERY_S
        while not self._stop.is_set():
            try:
                self._presence.each_dead(_recover)
                if time.monotonic() > orphans_at:
                    orphans_at = time.monotonic() + ORPHANS_EVERY_S
                    for executor_id in _at_work() - self._presence.known():
                        _recover(executor_id)
            except Exception:  # a locked database must not end recovery: the next round tries again
                log.exception("looking for dead processes failed")
            self._stop.wait(REAP_EVERY_S)


def _url(db: Database) -> str:
    return db.url.render_as_string(hide_password=False)


def _pool(db: Database) -> sa.Engine | None:
    """Our own pool on Postgres, so that one limit holds for both; on SQLite the engine opens its own, which
    begins transactions in its own way."""
    return None if db.is_sqlite else db.engine


def _recover(executor_id: str) -> bool:
    """Enqueue again what that executor was at; True if nothing is left."""
    # the one hook that open-source DBOS has for another executor's work (pinned to 3.4)
    recovered = DBOS._recover_pending_workflows([executor_id])
    if recovered:
        log.warning("recovered %d jobs of a process that died", len(recovered))
    return executor_id not in _at_work(executor_id)  # an error on one of them is only logged in there


def _at_work(executor_id: str | None = None) -> set[str]:
    """The executors that workflows are down as running in; that one only, if it is named."""
    found = DBOS.list_workflows(
        executor_id=executor_id,
        status="PENDING",
        limit=HISTORY_BATCH if executor_id is None else 1,
        load_input=False,
        load_output=False,
    )
    return {workflow.executor_id for workflow in found if workflow.executor_id is not None}
