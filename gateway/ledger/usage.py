"""Usage roll-ups: what was made, what it cost and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa

from gateway.db.tables import attempts, ledger_entries, videos

Dimension = Literal["model", "adapter", "tier", "day"]


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """One group. Charges are the tenant's, costs the provider's or the device's; latency is accept to stored,
    of completed videos; ``clip_ms`` is the length of what was delivered."""

    group: Mapping[str, str]
    videos: int
    completed: int
    failed: int
    charge_micro_usd: int
    cost_micro_usd: int
    clip_ms: int
    latency_p50_ms: int | None
    latency_p95_ms: int | None


def usage(
    connection: sa.Connection,
    *,
    tenant_id: str | None,
    since: date,
    until: date,
    by: Sequence[Dimension] = ("model",),
    livemode: bool = True,
) -> list[UsageRow]:
    """Usage of the UTC days from ``since`` to ``until``, both included, of one tenant or (None) of all.

    Of what was made with keys for live mode, or of test mode alone.

    A video counts once, under its last attempt's adapter; the cost of its earlier attempts counts with it.
    """
    rows = _per_video(tenant_id, since, until, livemode)
    dimensions = [rows.c[name] for name in by]
    done = rows.c.status == "completed"
    ranked = sa.select(
        *rows.c,
        # cume_dist of each completed video's latency within its group gives exact nearest-rank percentiles
        sa.func.cume_dist().over(partition_by=[*dimensions, done], order_by=rows.c.latency_ms).label("rank"),
    ).subquery()

    def percentile(share: float) -> sa.ColumnElement[Any]:
        reached = (ranked.c.status == "completed") & (ranked.c["rank"] >= share)
        return sa.func.min(sa.case((reached, ranked.c.latency_ms)))

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    keys = [ranked.c[name] for name in by]
    query = (
        sa.select(
            *keys,
            sa.func.count().label("videos"),
            count(ranked.c.status == "completed").label("completed"),
            count(ranked.c.status == "failed").label("failed"),
            sa.func.coalesce(sa.func.sum(ranked.c.charge), 0).label("charge"),
            sa.func.coalesce(sa.func.sum(ranked.c.cost), 0).label("cost"),
            sa.func.coalesce(
                sa.func.sum(sa.case((ranked.c.status == "completed", ranked.c.clip_ms), else_=0)), 0
            ).label("clip"),
            percentile(0.5).label("p50"),
            percentile(0.95).label("p95"),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    return [_usage_row(row, by) for row in connection.execute(query)]


def _usage_row(row: Any, by: Sequence[Dimension]) -> UsageRow:
    return UsageRow(
        group={name: str(getattr(row, name)) for name in by},
        videos=row.videos,
        completed=int(row.completed),
        failed=int(row.failed),
        charge_micro_usd=int(row.charge),
        cost_micro_usd=int(row.cost),
        clip_ms=int(row.clip),
        latency_p50_ms=row.p50,
        latency_p95_ms=row.p95,
    )


def _per_video(tenant_id: str | None, since: date, until: date, livemode: bool) -> sa.Subquery:
    last = (
        sa.select(attempts.c.video_id, sa.func.max(attempts.c.number).label("number"))
        .group_by(attempts.c.video_id)
        .subquery()
    )
    cost = (
        sa.select(ledger_entries.c.video_id, sa.func.sum(ledger_entries.c.amount_micro_usd).label("cost"))
        .where(ledger_entries.c.account == "provider", ledger_entries.c.kind == "actual")
        .group_by(ledger_entries.c.video_id)
        .subquery()
    )
    query = (
        sa.select(
            videos.c.id,
            videos.c.model,
            attempts.c.adapter,
            videos.c.tier,
            videos.c.created_day.label("day"),
            videos.c.status,
            videos.c.clip_ms,
            sa.func.coalesce(videos.c.charge_micro_usd, 0).label("charge"),
            sa.func.coalesce(cost.c.cost, 0).label("cost"),
            attempts.c.total_ms.label("latency_ms"),
        )
        .join(last, last.c.video_id == videos.c.id)
        .join(attempts, (attempts.c.video_id == videos.c.id) & (attempts.c.number == last.c.number))
        .outerjoin(cost, cost.c.video_id == videos.c.id)
        .where(videos.c.created_day >= since, videos.c.created_day <= until, videos.c.livemode.is_(livemode))
    )
    if tenant_id is not None:
        query = query.where(videos.c.tenant_id == tenant_id)
    return query.subquery()
