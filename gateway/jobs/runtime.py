"""A process of the gateway: opens its resources, and starts and stops what runs in it."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import sqlalchemy as sa

from gateway.db import Database
from gateway.db.keys import load_pepper
from gateway.db.migrate import upgrade
from gateway.db.tables import attempts
from gateway.jobs.engine import Engine, Enqueuer, Workflow, migrate_engine
from gateway.jobs.locks import ProcessLock, scratch_of
from gateway.jobs.loop import IoLoop
from gateway.jobs.render import render
from gateway.jobs.resources import RENDER, SETTLE, SUBMIT, Resources, account_queue, pool_queue
from gateway.jobs.settle import settle
from gateway.jobs.slots import SlotProcess, devices_of
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.media import Store
from gateway.registry import Registry, load_registry
from gateway.settings import Settings, SettingsError
from gateway.spec import Device, LocalAdapter, PluginContext, RemoteAdapter

SUBMITS_PER_ACCOUNT = 8
SETTLES = 4
TEMP_KEPT_S = 3600
log = logging.getLogger(__name__)


def open_registry(settings: Settings) -> Registry:
    """Load the plugins as the settings say."""
    context = PluginContext(settings=settings.plugins, data_dir=settings.data_dir)
    return load_registry(context, enabled=settings.enabled_plugins, offers=settings.offers)


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
    slots: list[SlotProcess] = field(default_factory=list)
    watch: Future[None] | None = None
    sole: ProcessLock | None = None

    @classmethod
    def open(cls, settings: Settings, *, supervisor: str | None = None) -> Self:
        """Bring the database up to date and load the plugins; nothing runs yet.

        ``supervisor``: the gateway that this process works for. Such a worker checks no key, so it has no
        pepper, which it was not handed.
        """
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts and images are private
        db = Database(settings.database_url, settings.database_connections)
        upgrade(db)
        migrate_engine(db.url)
        engine = Engine(db.url, settings.run_dir)
        return cls(
            settings=settings,
            db=db,
            store=Store(settings.store_dir),
            registry=open_registry(settings),
            pepper=load_pepper(settings) if supervisor is None else b"",
            enqueuer=Enqueuer(db.url),
            engine=engine,
            scratch=scratch_of(settings.run_dir, engine.executor_id),
            io=IoLoop(),
            supervisor=supervisor or uuid.uuid4().hex,
        )

    def start(self) -> None:
        """Run everything: submits, settles, the watcher, and the device slots as ``isolation`` says.

        Raises:
            SettingsError: the routing policy is unknown or its section wrong, or another gateway runs on this
                data folder, so that each slot would have two masters.
        """
        check_policy(self.settings, self.registry)
        try:
            self.sole = ProcessLock.only(self.settings.run_dir, "gateway")
        except BlockingIOError:
            folder = self.settings.data_dir
            raise SettingsError(
                f"another gateway runs on {folder}: stop it, or give another --data-dir"
            ) from None
        self.store.sweep_temp(older_than_s=TEMP_KEPT_S)
        workflows: dict[str, Workflow] = {SUBMIT: partial(submit, self), SETTLE: partial(settle, self)}
        queues = {
            account_queue(name, account): SUBMITS_PER_ACCOUNT
            for name, adapter in self.registry.adapters.items()
            if isinstance(adapter, RemoteAdapter)
            for account in adapter.accounts
        } | {SETTLE: SETTLES}
        devices = devices_of(self.settings)
        if self.settings.isolation == "none":
            for device in devices:
                threading.Thread(target=self._prepare, args=(device,), daemon=True).start()
            workflows[RENDER] = self._renderer(devices)
            for device in devices:
                queues[pool_queue(device.pool)] = queues.get(pool_queue(device.pool), 0) + 1
        self.engine.start(workflows, queues)
        if self.settings.isolation == "process":
            self.slots = [SlotProcess(self.settings, device, self.supervisor) for device in devices]
            for slot in self.slots:
                slot.start()
        self.watch = self.io.start(Watcher(self).run())

    def start_slot(self, device: Device) -> None:
        """Run one device slot in this process, and nothing else."""
        self._prepare(device)
        self.engine.start({RENDER: self._renderer([device])}, {pool_queue(device.pool): 1})

    def close(self) -> None:
        """Stop what runs, hand back what is not finished, and close the resources."""
        self.stopping.set()
        for slot in self.slots:
            slot.ask()
        if self.watch is not None:
            self.io.cancel(self.watch)
        self.engine.stop()
        for slot in self.slots:
            slot.stop()
        for adapter in self.registry.adapters.values():
            if isinstance(adapter, RemoteAdapter):
                try:
                    self.io.run(adapter.aclose())
                except Exception:  # a stranger's code; the rest is to be closed all the same
                    log.exception("adapter %s could not be closed", adapter.name)
        self.io.close()
        self.enqueuer.close()
        self.db.close()
        if self.sole is not None:
            self.sole.release()

    def _prepare(self, device: Device) -> None:
        """Let the local adapters load what they need, before the slot takes its first job."""
        for adapter in self.registry.adapters.values():
            if isinstance(adapter, LocalAdapter):
                try:
                    adapter.prepare(device)
                except Exception:  # a stranger's code; its renders will say what is wrong, others can run
                    log.exception(
                        "adapter %s could not prepare slot %s/%s", adapter.name, device.pool, device.slot
                    )

    def _renderer(self, devices: list[Device]) -> Callable[[str], None]:
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
