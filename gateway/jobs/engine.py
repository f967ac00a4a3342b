"""The durable engine (DBOS Transact) behind the few calls that we make of it.

DBOS holds control flow only: which workflow is enqueued, running or done. A workflow's one argument is an
attempt id; everything else is read from our own tables, so a workflow may run again from its start at any
time and must claim its work there. Facts relied on here are in docs/decisions/0002-durable-engine.md.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig
from dbos import Serializer as DBOSSerializer
from typing_extensions import override

from gateway.jobs.locks import ProcessLock, dead_processes

APPLICATION = "reelgate"

APPLICATION_VERSION = "schema-1"
"""Constant: DBOS leaves work of another version untouched, and its default is a hash of the code."""

REAP_EVERY_S = 1.0
STOP_WITHIN_S = 10
RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 60.0
log = logging.getLogger(__name__)
Workflow = Callable[[str], None]


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

    def __init__(self, url: sa.URL) -> None:
        self._client = DBOSClient(
            system_database_url=url.render_as_string(hide_password=False),
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

    def __init__(self, url: sa.URL, run_dir: Path) -> None:
        self._url = url.render_as_string(hide_password=False)
        self._run_dir = run_dir
        self.executor_id = f"ex-{uuid.uuid4().hex}"
        self._stop = threading.Event()
        self._reaper: threading.Thread | None = None
        self._lock: ProcessLock | None = None
        self._active: set[object] = set()

    def start(self, workflows: Mapping[str, Workflow], queues: Mapping[str, int]) -> None:
        """Start executing: ``queues`` maps each queue's name to how many of its jobs may run here at once."""
        self._lock = ProcessLock.take(self._run_dir, self.executor_id)
        config = DBOSConfig(
            name=APPLICATION,
            system_database_url=self._url,
            application_version=APPLICATION_VERSION,
            executor_id=self.executor_id,
            serializer=JsonSerializer(),
            log_level="WARNING",
            sys_db_pool_size=5,
            use_listen_notify=False,
        )
        DBOS(config=config)
        for name, function in workflows.items():
            DBOS.workflow(name=name)(self._durable(function, name))
        DBOS.listen_queues(list(queues))
        DBOS.launch()
        for queue, concurrency in queues.items():
            DBOS.register_queue(
                queue, worker_concurrency=concurrency, polling_interval_sec=0.2, on_conflict="always_update"
            )
        self._reaper = threading.Thread(target=self._reap, name="reaper", daemon=True)
        self._reaper.start()

    def stop(self) -> None:
        """Stop executing; what does not end soon is left pending, for another process or the next start."""
        self._stop.set()
        if self._reaper is not None:
            self._reaper.join()
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=STOP_WITHIN_S)
        if self._active:  # only the end of this process proves to the others that its work has stopped
            log.warning("still at work after %d s, and left to the end of the process", STOP_WITHIN_S)
        elif self._lock is not None:
            self._lock.release()

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._reaper is not None and not self._stop.is_set()

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
            except sa.exc.OperationalError as error:
                if self._stop.is_set():
                    raise
                log.error("attempt %s: the database failed; again in %g s: %s", attempt_id, wait, error)
            self._stop.wait(wait)
            wait = min(wait * 2, RETRY_LONGEST_S)

    def _reap(self) -> None:
        while not self._stop.is_set():
            try:
                for dead in dead_processes(self._run_dir):
                    with dead:
                        # the one hook that open-source DBOS has for another executor's work (pinned to 3.4)
                        recovered = DBOS._recover_pending_workflows([dead.name])
                        if recovered:
                            log.warning("recovered %d jobs of a process that died", len(recovered))
                        if not _pending(dead.name):  # an error on one of them is only logged in there
                            dead.forget()
            except Exception:  # a locked database must not end recovery: the next round tries again
                log.exception("looking for dead processes failed")
            self._stop.wait(REAP_EVERY_S)


def _pending(executor_id: str) -> bool:
    """True while a workflow is still down as running in this executor."""
    found = DBOS.list_workflows(
        executor_id=executor_id, status="PENDING", limit=1, load_input=False, load_output=False
    )
    return bool(found)
