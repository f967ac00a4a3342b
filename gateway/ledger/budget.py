"""A tenant's budget for the calendar month (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from gateway.db.tables import ledger_entries, tenants, videos


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a tenant may spend in a month, and how many of its videos may be under way; None: no limit."""

    monthly_budget_micro_usd: int | None
    max_active: int | None


_LIMITS = sa.select(tenants.c.monthly_budget_micro_usd, tenants.c.max_active).where(
    tenants.c.id == sa.bindparam("tenant_id")
)
_LOCKED = _LIMITS.with_for_update(key_share=True)
_SPENT = (
    # hold - release = what is charged once a video is finished, and what may be until then
    sa.select(
        sa.func.coalesce(
            sa.func.sum(
                sa.case(
                    (ledger_entries.c.kind == "hold", ledger_entries.c.amount_micro_usd),
                    (ledger_entries.c.kind == "release", -ledger_entries.c.amount_micro_usd),
                    else_=0,
                )
            ),
            0,
        )
    )
    .join(videos, videos.c.id == ledger_entries.c.video_id)
    .where(
        ledger_entries.c.tenant_id == sa.bindparam("tenant_id"),
        ledger_entries.c.account == "tenant",
        ledger_entries.c.created_at >= sa.bindparam("month"),
        videos.c.created_at >= sa.bindparam("month"),
        videos.c.livemode,
    )
)


def limits_of(connection: sa.Connection, tenant_id: str) -> Limits:
    """The limits of a tenant."""
    row = connection.execute(_LIMITS, {"tenant_id": tenant_id}).one()
    return Limits(monthly_budget_micro_usd=row.monthly_budget_micro_usd, max_active=row.max_active)


def budget_left(connection: sa.Connection, tenant_id: str, at: datetime, *, lock: bool = False) -> int | None:
    """Micro-USD left this month: the budget less what is charged and held; None without a budget.

    A video counts in the month of its accept: what is released later is not given to the next month. What was
    made in test mode does not count.

    With ``lock`` the tenant's row is locked until the transaction ends, so that two requests cannot both take
    the last of it; rows that refer to the tenant may be added all the while.
    """
    mine = {"tenant_id": tenant_id}
    budget = connection.execute(_LOCKED if lock else _LIMITS, mine).one().monthly_budget_micro_usd
    if budget is None:
        return None
    month = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(budget) - int(connection.execute(_SPENT, mine | {"month": month}).scalar_one())
