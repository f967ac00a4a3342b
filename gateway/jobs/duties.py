"""What a process of the gateway does, besides answering the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Self

from gateway.jobs.resources import SETTLE, account_queue
from gateway.jobs.slots import devices_of
from gateway.registry import SANDBOX, Registry
from gateway.settings import Settings, SettingsError
from gateway.spec import Device, RemoteAdapter

SUBMITS_PER_ACCOUNT = 8
SETTLES = 4
WATCH = "watch"
"""Stands among the queues for the watcher and the retention sweep."""

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Duties:
    """``queues``: how many jobs of each may run here at once. ``watch``: the watcher and sweeps run too."""

    queues: Mapping[str, int] = field(default_factory=dict)
    watch: bool = False
    devices: Sequence[Device] = ()

    @property
    def any(self) -> bool:
        """False for a process that answers the API and does nothing else."""
        return bool(self.queues or self.watch or self.devices)

    @classmethod
    def chosen(
        cls, settings: Settings, registry: Registry, queues: Sequence[str] = (), slots: Sequence[str] = ()
    ) -> Self:
        """All duties, or those named.

        ``queues``: patterns of ``account.<adapter>.<account>``, ``settle`` and ``watch``; ``slots``: a pool,
        or ``<pool>/<number>``; for either, ``none``.

        Raises:
            SettingsError: a name that fits nothing.
        """
        remote = [
            (adapter.name, account)
            for adapter in registry.adapters.values()
            if isinstance(adapter, RemoteAdapter)
            for account in adapter.accounts
        ]
        remote += [
            (adapter.name, SANDBOX)
            for adapter in registry.stand_ins.values()
            if isinstance(adapter, RemoteAdapter)
        ]
        limits = {SETTLE: SETTLES, WATCH: 1} | {
            account_queue(*account): SUBMITS_PER_ACCOUNT for account in remote
        }
        names = _fitting("--queues", queues, list(limits))
        devices = {f"{device.pool}/{device.slot}": device for device in devices_of(settings)}
        patterns = [pattern if "/" in pattern or pattern == NONE else f"{pattern}/*" for pattern in slots]
        return cls(
            queues={name: limits[name] for name in names if name != WATCH},
            watch=WATCH in names,
            devices=[devices[name] for name in _fitting("--slots", patterns, list(devices))],
        )


def _fitting(option: str, patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    if not patterns:
        return list(names)
    if NONE in patterns:
        if len(patterns) > 1:
            raise SettingsError(f"{option}: none stands alone")
        return []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SettingsError(f"{option}: {pattern!r} fits none of: {', '.join(names) or 'none'}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
