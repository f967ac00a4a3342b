"""Alembic's environment: migrates over a connection that the gateway hands in.

New revision: ``python -m migrations.revise "what changes"`` on a database at the current head.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from gateway.db.tables import metadata


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Leave the durable engine's tables alone: on SQLite they share our namespace."""
    return not (kind == "table" and reflected and name not in metadata.tables)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_object=include_object,
    render_as_batch=True,
    transaction_per_migration=False,
)
context.run_migrations()
