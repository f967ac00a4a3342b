"""Does the ledger balance? An independent reading of the rows, for ``reelgate ledger verify``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gateway.db.tables import artefacts, attempts, ledger_entries, videos


def verify_ledger(connection: sa.Connection) -> list[str]:
    """Every rule that a video breaks, in words; empty when all balance.

    Rules: one hold per video, equal to the video's own record of it; at a terminal state
    hold = charge + release; before it neither; charge > 0 only with a stored artefact's row; the video's
    recorded charge is the ledger's; no attempt of a finished video is left with an open estimate, unless
    its outcome is unknown.
    """
    return (
        [problem for row in connection.execute(_sums()) for problem in _problems(row)]
        + [
            f"{row.video_id}: a ledger entry of tenant {row.tenant_id}, which does not own the video"
            for row in connection.execute(_strangers())
        ]
        + [
            f"{row.video_id}: attempt {row.id} is over, but its estimate is neither an actual cost nor void"
            for row in connection.execute(_open())
        ]
    )


def _sums() -> sa.Select[Any]:
    def total(kind: str, label: str, column: Any) -> sa.ColumnElement[int]:
        summed = sa.func.sum(sa.case((ledger_entries.c.kind == kind, column), else_=0))
        return sa.func.coalesce(summed, 0).label(label)

    kinds = ("hold", "charge", "release")
    amount = ledger_entries.c.amount_micro_usd
    stored = sa.exists().where(artefacts.c.video_id == videos.c.id, artefacts.c.variant == "video")
    return (
        sa.select(
            videos.c.id,
            videos.c.status,
            videos.c.hold_micro_usd,
            videos.c.charge_micro_usd,
            stored.label("stored"),
            *(total(kind, kind, amount) for kind in kinds),
            *(total(kind, f"{kind}s", sa.literal(1)) for kind in kinds),
        )
        .select_from(videos.outerjoin(ledger_entries, ledger_entries.c.video_id == videos.c.id))
        .group_by(videos.c.id)
        .order_by(videos.c.id)
    )


def _problems(row: sa.Row[Any]) -> list[str]:
    terminal = row.status in ("completed", "failed")
    rules = {
        f"{row.holds} holds instead of one": row.holds != 1,
        f"hold {row.hold} differs from the video's {row.hold_micro_usd}": row.hold != row.hold_micro_usd,
        f"hold {row.hold} is not charge {row.charge} + release {row.release}": terminal
        and row.hold != row.charge + row.release,
        "charged or released before its end": not terminal and (row.charges > 0 or row.releases > 0),
        f"charged {row.charge} without a stored video": row.charge > 0 and not row.stored,
        f"charged {row.charge}, but the video says {row.charge_micro_usd}": terminal
        and row.charge != row.charge_micro_usd,
        f"failed, yet charged {row.charge}": row.status == "failed" and row.charge > 0,
    }
    return [f"{row.id}: {text}" for text, broken in rules.items() if broken]


def _strangers() -> sa.Select[Any]:
    return (
        sa.select(ledger_entries.c.video_id, ledger_entries.c.tenant_id)
        .join(videos, videos.c.id == ledger_entries.c.video_id)
        .where(ledger_entries.c.tenant_id != videos.c.tenant_id)
    )


def _open() -> sa.Select[Any]:
    resolved = sa.exists().where(
        ledger_entries.c.attempt_id == attempts.c.id, ledger_entries.c.kind.in_(("actual", "void"))
    )
    return (
        sa.select(attempts.c.video_id, attempts.c.id)
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(videos.c.status.in_(("completed", "failed")), attempts.c.state != "outcome_unknown", ~resolved)
        .order_by(attempts.c.id)
    )
