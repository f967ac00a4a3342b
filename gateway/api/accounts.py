"""The operator's accounts at providers: which take jobs, which do not and why, and how to let one again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, only_admins, runtime_of
from gateway.api.errors import ApiError
from gateway.db import now
from gateway.db.accounts import AccountState, Key, jobs_held, read_accounts
from gateway.jobs.accounts import reset_account
from gateway.jobs.callbacks import account_url
from gateway.jobs.resources import Resources
from gateway.routing.gather import limits_of
from gateway.spec import RemoteAdapter

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/accounts", response_model=dict[str, Any])
def list_accounts(request: Request, caller: Authenticated) -> JSONResponse:
    """Every provider account and the state of its circuit breaker, for admin keys."""
    only_admins(caller, "Only an admin key may see the provider accounts.")
    return JSONResponse({"object": "list", "data": describe_accounts(runtime_of(request))})


@router.post("/accounts/{adapter}/{account}/reset", response_model=dict[str, Any])
def reset(request: Request, caller: Authenticated, adapter: str, account: str) -> JSONResponse:
    """Let an account take jobs again, once what stopped it is mended; for admin keys."""
    only_admins(caller, "Only an admin key may reset a provider account.")
    return JSONResponse(reset_known(runtime_of(request), (adapter, account), who=caller.key_id))


def describe_accounts(resources: Resources) -> list[dict[str, Any]]:
    """Every account that is configured, and those that are on record though they are no longer."""
    with resources.db.read() as connection:
        return [_described(connection, resources, state) for state in _all(connection, resources).values()]


def reset_known(resources: Resources, key: Key, who: str) -> dict[str, Any]:
    """Reset an account and describe it.

    Raises:
        ApiError: 404, there is none.
    """
    with resources.db.write() as connection:
        if key not in _all(connection, resources):
            raise ApiError(
                404,
                "account_not_found",
                f"There is no account '{key[1]}' of an adapter '{key[0]}': GET /v1/accounts and "
                "`reelgate accounts list` show them.",
                param="account",
            )
        reset_account(connection, *key, who)
        described = _described(connection, resources, read_accounts(connection)[key])
    resources.timings.forget_accounts()
    return described


def _all(connection: sa.Connection, resources: Resources) -> dict[Key, AccountState]:
    configured = {
        (name, account): AccountState(adapter=name, account=account)
        for name, adapter in sorted(resources.registry.adapters.items())
        if isinstance(adapter, RemoteAdapter)
        for account in adapter.accounts
    }
    return configured | dict(read_accounts(connection))


def _described(connection: sa.Connection, resources: Resources, state: AccountState) -> dict[str, Any]:
    adapter = resources.registry.find(state.adapter, state.account)
    limits = limits_of(adapter, state.account) if isinstance(adapter, RemoteAdapter) else None
    probing = state.state == "open" and state.takes_job(now())
    return {
        "object": "account",
        "adapter": state.adapter,
        "account": state.account,
        "state": "half_open" if probing else state.state,
        "since": _iso(state.since),
        "reason": state.reason,
        "detail": state.detail,
        "retry_at": _iso(state.retry_at),
        "jobs": jobs_held(connection, state.adapter, planned=False).get(state.account, 0),
        "webhook_url": account_url(resources, state.adapter, state.account),
        "limits": None if limits is None else limits.model_dump(),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
