"""The SQL database: engine, tables, ids, migrations."""

from __future__ import annotations

from gateway.db.engine import CommitUnknown, Database, now
from gateway.db.ids import new_id

__all__ = ["CommitUnknown", "Database", "new_id", "now"]
