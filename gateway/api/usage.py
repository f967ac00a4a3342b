"""What was made, what it cost and how long it took."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, only_admins, runtime_of
from gateway.api.errors import invalid
from gateway.api.video_object import seconds_text, usd_text
from gateway.db import now
from gateway.ledger.usage import UsageRow, usage

router = APIRouter(prefix="/v1", tags=["usage"])

DEFAULT_DAYS = 30
_DIMENSIONS: tuple[Literal["model", "adapter", "tier", "day"], ...] = ("model", "adapter", "tier", "day")


@router.get("/usage", response_model=dict[str, Any])
def get_usage(
    request: Request,
    caller: Authenticated,
    since: Annotated[date | None, Query()] = None,
    until: Annotated[date | None, Query()] = None,
    by: Annotated[str, Query()] = "model",
    tenant: Annotated[Literal["own", "all"], Query()] = "own",
) -> JSONResponse:
    """Usage of the UTC days from ``since`` to ``until``, both included (default: the last 30), by what ``by``
    lists; ``tenant=all`` is for admin keys. A key for test mode is told of test mode, any other never."""
    if tenant == "all":
        message = "Only an admin key may ask for all tenants: leave tenant out to see your own usage."
        only_admins(caller, message, param="tenant")
    last = until or now().date()
    first = since or last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise invalid("since", f"'since' ({first}) lies after 'until' ({last}): swap them.")
    names = _dimensions(by)
    with runtime_of(request).db.read() as connection:
        rows = usage(
            connection,
            tenant_id=None if tenant == "all" else caller.tenant_id,
            since=first,
            until=last,
            by=names,
            livemode=caller.livemode,
        )
    return JSONResponse(
        {
            "object": "usage",
            "since": first.isoformat(),
            "until": last.isoformat(),
            "tenant": tenant,
            "livemode": caller.livemode,
            "by": list(names),
            "data": [usage_row(row, caller.admin) for row in rows],
        }
    )


def _dimensions(by: str) -> tuple[Literal["model", "adapter", "tier", "day"], ...]:
    asked = [name.strip() for name in by.split(",")]
    names = tuple(name for name in _DIMENSIONS if name in asked)
    if len(names) != len(asked):
        raise invalid("by", f"'by' is not valid: send one or more of {', '.join(_DIMENSIONS)}, with commas.")
    return names


def usage_row(row: UsageRow, admin: bool) -> dict[str, Any]:
    """One group; what the provider or the device cost is the operator's to know."""
    cost = {"cost_usd": usd_text(row.cost_micro_usd)} if admin else {}
    return {
        **row.group,
        "videos": row.videos,
        "completed": row.completed,
        "failed": row.failed,
        "seconds": seconds_text(row.clip_ms),
        "charge_usd": usd_text(row.charge_micro_usd),
        **cost,
        "latency_p50_ms": row.latency_p50_ms,
        "latency_p95_ms": row.latency_p95_ms,
    }
