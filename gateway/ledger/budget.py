"""A tenant's budget for the calendar month (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from gateway.db.tables import ledger_entries, tenants, videos


def budget_left(connection: sa.Connection, tenant_id: str, at: datetime, *, lock: bool = False) -> int | None:
    """Micro-USD left this month: the budget less what is charged and held; None without a budget.

    A video counts in the month of its accept: what is released later is not given to the next month.

    With ``lock`` the tenant's row is locked until the transaction ends, so that two requests cannot
    both take the last of it.
    """
    query = sa.select(tenants.c.monthly_budget_micro_usd).where(tenants.c.id == tenant_id)
    budget = connection.execute(query.with_for_update() if lock else query).scalar_one()
    if budget is None:
        return None
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    # hold - release = what is charged once a video is finished, and what may be until then
    signed = sa.case(
        (ledger_entries.c.kind == "hold", ledger_entries.c.amount_micro_usd),
        (ledger_entries.c.kind == "release", -ledger_entries.c.amount_micro_usd),
        else_=0,
    )
    spent = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(signed), 0))
        .join(videos, videos.c.id == ledger_entries.c.video_id)
        .where(
            ledger_entries.c.tenant_id == tenant_id,
            ledger_entries.c.account == "tenant",
            ledger_entries.c.created_at >= month,
            videos.c.created_at >= month,
        )
    ).scalar_one()
    return int(budget) - int(spent)
