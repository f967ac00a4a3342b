"""Jobs that a provider may or may not have taken, and a person's word on each."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.auth import Authenticated, only_admins, runtime_of
from gateway.api.errors import ApiError, invalid
from gateway.api.video_object import usd_text
from gateway.jobs import reconcile
from gateway.jobs.resources import Resources

router = APIRouter(prefix="/v1", tags=["reconcile"])
ADMINS = "Only an admin key may reconcile attempts."

Action = Literal["adopt", "release", "resubmit"]


class Word(BaseModel):
    """What a person found out; ``upstream_id``, the provider's own id of the job, belongs to ``adopt``."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    upstream_id: str | None = Field(default=None, min_length=1, max_length=2000)


@router.get("/reconcile", response_model=dict[str, Any])
def list_unknown(request: Request, caller: Authenticated) -> JSONResponse:
    """The attempts of unknown outcome, for admin keys."""
    only_admins(caller, ADMINS)
    return JSONResponse({"object": "list", "data": describe_unknown(runtime_of(request))})


@router.post("/reconcile/{attempt_id}", response_model=dict[str, Any])
def reconcile_attempt(request: Request, caller: Authenticated, attempt_id: str, body: Word) -> JSONResponse:
    """Say what became of one: adopted, released, or to be sent again; for admin keys."""
    only_admins(caller, ADMINS)
    settle_word(runtime_of(request), attempt_id, body.action, body.upstream_id, who=caller.key_id)
    return JSONResponse({"object": "reconciled", "attempt_id": attempt_id, "action": body.action})


def describe_unknown(resources: Resources) -> list[dict[str, Any]]:
    """What a person needs to find each at its provider."""
    with resources.db.read() as connection:
        return [_described(row) for row in reconcile.unknown_attempts(connection)]


def settle_word(
    resources: Resources, attempt_id: str, action: Action, upstream_id: str | None, who: str
) -> None:
    """Do what the word says.

    Raises:
        ApiError: 400, the id is missing or out of place; 404 or 409, it cannot be done.
    """
    if (upstream_id is not None) != (action == "adopt"):
        message = (
            "'upstream_id', the provider's own id of the job, belongs to the action adopt, and only there."
        )
        raise invalid("upstream_id", message)
    try:
        if action == "adopt":
            assert upstream_id is not None
            reconcile.adopt(resources, attempt_id, upstream_id, who)
        elif action == "release":
            reconcile.release(resources, attempt_id, who)
        else:
            reconcile.resubmit(resources, attempt_id, who)
    except reconcile.NoSuchAttempt:
        message = (
            f"There is no attempt {attempt_id}: GET /v1/reconcile and `reelgate reconcile list` show them."
        )
        raise ApiError(404, "attempt_not_found", message, param="attempt_id") from None
    except reconcile.NotReconcilable as error:
        raise ApiError(409, "not_reconcilable", f"Nothing was changed: {error}", param="attempt_id") from None


def _described(row: sa.Row[Any]) -> dict[str, Any]:
    over = row.settled_at is not None or row.stop_requested_at is not None
    return {
        "object": "unknown_attempt",
        "attempt_id": row.id,
        "video_id": row.video_id,
        "tenant_id": row.tenant_id,
        "adapter": row.adapter,
        "account": row.account,
        "offer": row.offer,
        "submitted_at": row.started_at and row.started_at.isoformat(timespec="seconds"),
        "estimate_usd": usd_text(row.estimate_micro_usd),
        "detail": row.operator_detail,
        "video_status": row.status,
        "deadline_at": row.deadline_at.isoformat(timespec="seconds"),
        "actions": ["adopt", "release"] if over else ["adopt", "release", "resubmit"],
    }
