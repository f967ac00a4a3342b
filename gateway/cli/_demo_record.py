"""What SQL says of the demo's videos, read behind the server's back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.api.video_object import usd_text
from gateway.cli._open import opened_database
from gateway.db.tables import attempts, videos
from gateway.jobs.records import LATENCY_PARTS
from gateway.ledger.verify import verify_ledger
from gateway.settings import Settings

Row = dict[str, Any]


def read_record(settings: Settings, video_ids: Sequence[str]) -> tuple[list[Row], list[str]]:
    """One row per attempt: way, money and latency in its parts (ms); and what the ledger's check says."""
    query = (
        sa.select(attempts, videos.c.charge_micro_usd, videos.c.hold_micro_usd)
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(videos.c.id.in_(video_ids))
        .order_by(attempts.c.id)
    )
    with opened_database(settings) as db, db.read() as connection:
        return [_row(row) for row in connection.execute(query)], verify_ledger(connection)


def _row(row: sa.Row[Any]) -> Row:
    return {
        "video": row.video_id,
        "model": row.model,
        "offer": row.offer,
        "adapter": row.adapter,
        "preset": row.preset,
        "state": row.state,
        "estimate_usd": usd_text(row.estimate_micro_usd),
        "hold_usd": usd_text(row.hold_micro_usd),
        "cost_usd": None if row.actual_micro_usd is None else usd_text(row.actual_micro_usd),
        "charge_usd": None if row.charge_micro_usd is None else usd_text(row.charge_micro_usd),
        "latency": {part: getattr(row, part) for part in LATENCY_PARTS},
    }
