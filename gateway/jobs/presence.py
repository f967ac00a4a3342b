"""This process's sign of life, and the finding of processes that have none.

On one machine an OS file lock tells at once (:mod:`gateway.jobs.locks`). On Postgres, where processes may
run on several machines, each has a lease besides (:mod:`gateway.db.leases`); one that cannot renew it is
taken for dead, and should it still live, its fence keeps it from writing (:mod:`gateway.jobs.attempts`).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from gateway.db import Database, leases
from gateway.db.engine import postgres_engine
from gateway.jobs.locks import ProcessLock, dead_processes, held, names
from gateway.spec import Device

Role = Literal["all", "worker", "slot"]
log = logging.getLogger(__name__)


class Presence:
    """One process, by its ``executor_id``: fresh at each start, so that no two are ever taken for one."""

    def __init__(self, db: Database, run_dir: Path) -> None:
        self.executor_id = f"ex-{uuid.uuid4().hex}"
        self._db = db
        self._run_dir = run_dir
        self._lock: ProcessLock | None = None
        self._lease: _Lease | None = None

    def start(self, role: Role, slots: Sequence[Device]) -> None:
        """Be alive in the eyes of the others."""
        self._lock = ProcessLock.take(self._run_dir, self.executor_id)
        if not self._db.is_sqlite:
            holder = leases.Holder(
                executor_id=self.executor_id,
                role=role,
                host=socket.gethostname(),
                pid=os.getpid(),
                slots=Counter(slot.pool for slot in slots),
            )
            self._lease = _Lease(self._db.url, holder)
            self._lease.start()

    def stop(self, *, gone: bool) -> None:
        """Give no more signs; ``gone``: nothing of this process goes on, so that others may take over now.

        Else the others wait for the end of the process, which the lock tells them, and the lease."""
        if self._lease is not None:
            self._lease.stop(withdraw=gone)
        if self._lock is not None and gone:
            self._lock.release()

    def alive(self, executor_id: str) -> bool:
        """Whether that process lives: by its lock if it runs, or ran, on this machine, else by its lease."""
        here = executor_id == self.executor_id or held(self._run_dir, executor_id)
        if here is not None:
            return here
        if self._db.is_sqlite:
            return False
        with self._db.read() as connection:
            return leases.alive(connection, executor_id)

    def each_dead(self, recover: Callable[[str], bool]) -> None:
        """Have the work of each dead process recovered; it is forgotten once ``recover`` says that is all."""
        for dead in dead_processes(self._run_dir):
            with dead:
                if recover(dead.name):
                    self._remove_lease(dead.name, only_expired=False)
                    dead.forget()
        if not self._db.is_sqlite:
            with self._db.read() as connection:
                expired = leases.expired(connection)
            for executor_id in expired:
                if recover(executor_id):
                    self._remove_lease(executor_id, only_expired=True)

    def known(self) -> set[str]:
        """The executor ids of all processes of which there is still a sign, of life or of death."""
        here = names(self._run_dir)
        if self._db.is_sqlite:
            return here
        with self._db.read() as connection:
            return here | leases.holders(connection)

    def _remove_lease(self, executor_id: str, *, only_expired: bool) -> None:
        if not self._db.is_sqlite:
            with self._db.write() as connection:
                leases.remove(connection, executor_id, only_expired=only_expired)


class _Lease:
    """Renews a lease from a thread, on a connection of its own: a busy pool must not look like death."""

    def __init__(self, url: sa.URL, holder: leases.Holder) -> None:
        self._engine = postgres_engine(url, 1)
        self._holder = holder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def start(self) -> None:
        self._renew()
        self._thread.start()

    def stop(self, *, withdraw: bool) -> None:
        self._stop.set()
        self._thread.join()
        if withdraw:
            try:
                with self._engine.begin() as connection:
                    leases.remove(connection, self._holder.executor_id, only_expired=False)
            except sa.exc.SQLAlchemyError as error:
                log.warning("the lease was not removed, and is left to expire: %s", error)
        self._engine.dispose()

    def _beat(self) -> None:
        while not self._stop.wait(leases.BEAT_S):
            try:
                self._renew()
            except sa.exc.SQLAlchemyError as error:
                log.error("the lease could not be renewed: %s", error)

    def _renew(self) -> None:
        with self._engine.begin() as connection:
            leases.renew(connection, self._holder)
