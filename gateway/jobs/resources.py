"""What every part of a job's story works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from gateway.db import Database
from gateway.jobs.engine import Enqueuer
from gateway.jobs.loop import IoLoop
from gateway.media import Store
from gateway.registry import Registry
from gateway.routing.gather import TimingCache
from gateway.settings import Settings
from gateway.spec import Priority

SUBMIT = "submit"
RENDER = "render"
SETTLE = "settle"

PRIORITIES: dict[Priority, int] = {"interactive": 1, "batch": 100}
"""What waits in one queue starts in this order; never 0, which the engine takes for unset and puts first."""


def pool_queue(pool: str) -> str:
    """The queue of a device pool."""
    return f"pool.{pool}"


def account_queue(adapter: str, account: str) -> str:
    """The queue of a provider account."""
    return f"account.{adapter}.{account}"


@dataclass(kw_only=True)
class Resources:
    """Settings, database, store, plugins and the way to enqueue; ``stopping`` is set when this process ends.

    ``supervisor`` names the running gateway that this process belongs to, anew at each of its starts;
    ``scratch`` is a folder of this process alone, removed when it is gone.
    """

    settings: Settings
    db: Database
    store: Store
    registry: Registry
    pepper: bytes = field(repr=False)
    enqueuer: Enqueuer
    io: IoLoop
    supervisor: str
    scratch: Path
    timings: TimingCache = field(default_factory=TimingCache)
    stopping: threading.Event = field(default_factory=threading.Event)
