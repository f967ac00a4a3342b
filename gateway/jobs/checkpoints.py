"""The states that a render kept in the object store, to go on from."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gateway.jobs.resources import Resources


def newest(row: sa.Row[Any]) -> dict[str, Any] | None:
    """The newest state of an attempt (``key``, ``sha256``, ``bytes``, ``at``), or None."""
    return row.checkpoints[0] if row.checkpoints else None


def drop(resources: Resources, row: sa.Row[Any], keep: str | None = None) -> None:
    """Remove the states of a settled attempt, but the one under ``keep``."""
    for kept in row.checkpoints or ():
        if kept["key"] != keep:
            resources.store.delete(kept["key"])
