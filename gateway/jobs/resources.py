"""What every part of a job's story works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from gateway.db import Database
from gateway.jobs.accounts import Accounts
from gateway.jobs.engine import Enqueuer
from gateway.jobs.loop import IoLoop
from gateway.jobs.pace import Pace
from gateway.jobs.presence import Presence
from gateway.media import Store
from gateway.registry import Registry
from gateway.routing.gather import TimingCache
from gateway.settings import Settings

SUBMIT = "submit"
RENDER = "render"
SETTLE = "settle"


def pool_queue(pool: str) -> str:
    """The queue of a device pool."""
    return f"pool.{pool}"


def account_queue(adapter: str, account: str) -> str:
    """The queue of a provider account."""
    return f"account.{adapter}.{account}"


@dataclass(kw_only=True)
class Resources:
    """Settings, database, store, plugins and the way to enqueue.

    ``supervisor`` is the executor id of the process that keeps this one alive, or this one's own;
    ``scratch`` is a folder of this process alone, removed when it is gone. ``draining`` is set when the
    process is told to end: it takes nothing new. ``stopping`` is set when what it still has is to be handed
    back.
    """

    settings: Settings
    db: Database
    store: Store
    registry: Registry
    pepper: bytes = field(repr=False)
    enqueuer: Enqueuer
    io: IoLoop
    presence: Presence
    supervisor: str
    scratch: Path
    timings: TimingCache = field(default_factory=TimingCache)
    draining: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    pace: Pace = field(default_factory=Pace)
    accounts: Accounts = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = Accounts(self.db, self.timings)
