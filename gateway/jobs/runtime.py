"""A process of the gateway: opens its resources, and starts and stops what runs in it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import sqlalchemy as sa

from gateway.db import Database
from gateway.db.keys import load_pepper
from gateway.db.migrate import upgrade
from gateway.db.tables import attempts
from gateway.jobs.duties import Duties
from gateway.jobs.engine import Engine, Enqueuer, Workflow, migrate_engine
from gateway.jobs.locks import ProcessLock, scratch_of
from gateway.jobs.loop import IoLoop
from gateway.jobs.presence import Presence, Role
from gateway.jobs.render import render
from gateway.jobs.resources import RENDER, SETTLE, SUBMIT, Resources, pool_queue
from gateway.jobs.retention import Sweeper
from gateway.jobs.settle import settle
from gateway.jobs.slots import SlotProcess
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.media import open_store
from gateway.registry import Registry, load_registry
from gateway.settings import Settings, SettingsError
from gateway.spec import Device, LocalAdapter, PluginContext, RemoteAdapter

SLOT_CONNECTIONS = 2
"""On Postgres, of the process of one slot: one job, and the engine's own looking about."""

log = logging.getLogger(__name__)


def open_registry(settings: Settings) -> Registry:
    """Load the plugins as the settings say."""
    context = PluginContext(settings=settings.plugins, data_dir=settings.data_dir)
    registry = load_registry(
        context,
        enabled=settings.enabled_plugins,
        offers=settings.offers,
        sandbox_url=settings.sandbox_url,
    )
    if not settings.sandbox_only:
        return registry
    local = {name: one for name, one in registry.adapters.items() if isinstance(one, LocalAdapter)}
    return replace(registry, adapters=local)  # what is not there cannot be paid


def check_policy(settings: Settings, registry: Registry) -> None:
    """See that the routing policy is there and its section sound.

    Raises:
        SettingsError: what is wrong with ``policy`` or ``policies``.
    """
    policy = registry.policies.get(settings.policy)
    if policy is None:
        known = ", ".join(sorted(registry.policies)) or "none"
        raise SettingsError(f"policy: no plugin brings {settings.policy!r}; there are: {known}")
    models = frozenset(card.id for card in registry.catalog.cards)
    problems = policy.validate(settings.policies.get(settings.policy, {}), models)
    if problems:
        raise SettingsError(f"policies.{settings.policy}: {'; '.join(problems)}")


@dataclass(kw_only=True)
class Runtime(Resources):
    """Everything one process of the gateway holds, and what it has started."""

    engine: Engine
    duties: Duties = field(default_factory=Duties)
    slots: list[SlotProcess] = field(default_factory=list)
    watch: Future[None] | None = None
    sweeper: Sweeper | None = None
    slot_locks: list[ProcessLock] = field(default_factory=list)

    @classmethod
    def open(cls, settings: Settings, *, supervisor: str | None = None) -> Self:
        """Bring the database up to date and load the plugins; nothing runs yet.

        ``supervisor``: the process that this one works for. Such a worker checks no key, so it has no pepper,
        which it was not handed.
        """
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts and images are private
        connections = settings.database_connections if supervisor is None else SLOT_CONNECTIONS
        db = Database(settings.database_url, connections)
        upgrade(db)
        migrate_engine(db.url)
        presence = Presence(db, settings.run_dir)
        return cls(
            settings=settings,
            db=db,
            store=open_store(settings),
            registry=open_registry(settings),
            pepper=load_pepper(settings) if supervisor is None else b"",
            enqueuer=Enqueuer(db),
            engine=Engine(db, presence),
            presence=presence,
            scratch=scratch_of(settings.run_dir, presence.executor_id),
            io=IoLoop(),
            supervisor=supervisor or presence.executor_id,
        )

    def start(self, duties: Duties | None = None, role: Role = "all") -> None:
        """Run what its duties say, by default everything; the device slots as ``isolation`` says.

        Raises:
            SettingsError: the routing policy is unknown or its section wrong, or another process has one of
                the slots, which would then have two masters.
        """
        check_policy(self.settings, self.registry)
        self.duties = duties or Duties.chosen(self.settings, self.registry)
        if not self.duties.any:
            return
        self._take_slots()
        self.presence.start(role, self.duties.devices if self.settings.isolation == "none" else ())
        workflows: dict[str, Workflow] = {SUBMIT: partial(submit, self), SETTLE: partial(settle, self)}
        queues = dict(self.duties.queues)
        if self.settings.isolation == "none":
            for device in self.duties.devices:
                threading.Thread(target=self._prepare, args=(device,), daemon=True).start()
                queues[pool_queue(device.pool)] = queues.get(pool_queue(device.pool), 0) + 1
            workflows[RENDER] = self._renderer(self.duties.devices)
        self.engine.start(workflows, queues)
        if self.settings.isolation == "process":
            self.slots = [
                SlotProcess(self.settings, device, self.supervisor) for device in self.duties.devices
            ]
            for slot in self.slots:
                slot.start()
        if self.duties.watch:
            self.watch = self.io.start(Watcher(self).run())
            self.sweeper = Sweeper(self, self.engine)
            self.sweeper.start()

    def start_slot(self, device: Device) -> None:
        """Run one device slot in this process, and nothing else."""
        self._prepare(device)
        self.duties = Duties(devices=(device,))
        self.presence.start("slot", (device,))
        self.engine.start({RENDER: self._renderer((device,))}, {pool_queue(device.pool): 1})

    def close(self, *, finish_within_s: float = 0) -> None:
        """Take nothing new, let what runs end, hand back what does not, and close the resources."""
        until = time.monotonic() + finish_within_s
        self.draining.set()
        for slot in self.slots:
            slot.ask(patient=finish_within_s > 0)
        if self.sweeper is not None:
            self.sweeper.stop()
        if self.watch is not None:
            self.io.cancel(self.watch)
        gone = True
        if self.engine.running:
            gone = self.engine.stop(finish_within_s=finish_within_s, hand_back=self.stopping.set)
        self.stopping.set()
        for slot in self.slots:
            slot.stop(within_s=max(0.0, until - time.monotonic()))
        for adapter in self.registry.every_adapter():
            if isinstance(adapter, RemoteAdapter):
                try:
                    self.io.run(adapter.aclose())
                except Exception:  # a stranger's code; the rest is to be closed all the same
                    log.exception("adapter %s could not be closed", adapter.name)
        self.io.close()
        self.enqueuer.close()
        self.presence.stop(gone=gone)
        self.db.close()
        for lock in self.slot_locks:
            lock.release()

    def hurry(self) -> None:
        """Hand back now what a patient :meth:`close` waits for; may be called from a signal handler."""
        self.stopping.set()
        for slot in self.slots:
            slot.ask(patient=False)

    def _take_slots(self) -> None:
        for device in self.duties.devices:
            name = f"{device.pool}/{device.slot}"
            try:
                self.slot_locks.append(
                    ProcessLock.only(self.settings.run_dir, f"slot-{device.pool}-{device.slot}")
                )
            except BlockingIOError:
                raise SettingsError(
                    f"slot {name} belongs to another process of this gateway, on {self.settings.data_dir}: "
                    "stop that one, name other --slots, or give another --data-dir"
                ) from None

    def _prepare(self, device: Device) -> None:
        """Let the local adapters load what they need, before the slot takes its first job."""
        for adapter in self.registry.every_adapter():
            if isinstance(adapter, LocalAdapter):
                try:
                    adapter.prepare(device)
                except Exception:  # a stranger's code; its renders will say what is wrong, others can run
                    log.exception(
                        "adapter %s could not prepare slot %s/%s", adapter.name, device.pool, device.slot
                    )

    def _renderer(self, devices: Sequence[Device]) -> Callable[[str], None]:
        """The render workflow of this process: it takes a free device of the attempt's pool.

        The queue's own limit lets no more renders start than there are devices.
        """
        free: dict[str, queue.Queue[Device]] = {}
        for device in devices:
            free.setdefault(device.pool, queue.Queue()).put(device)

        def run(attempt_id: str) -> None:
            with self.db.read() as connection:
                pool = connection.execute(
                    sa.select(attempts.c.pool).where(attempts.c.id == attempt_id)
                ).scalar_one()
            device = free[pool].get()
            try:
                render(self, attempt_id, device)
            finally:
                free[pool].put(device)

        return run
