"""What every part of a job's story works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from gateway.db import Database
from gateway.jobs.engine import Enqueuer
from gateway.jobs.loop import IoLoop
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
    """Settings, database, store, plugins and the way to enqueue; ``stopping`` is set when this process ends.

    ``supervisor`` names the running gateway that this process belongs to, anew at each of its starts.
    """

    settings: Settings
    db: Database
    store: Store
    registry: Registry
    pepper: bytes = field(repr=False)
    enqueuer: Enqueuer
    io: IoLoop
    supervisor: str
    timings: TimingCache = field(default_factory=TimingCache)
    stopping: threading.Event = field(default_factory=threading.Event)
