"""Whether the process lives, and whether it can take work. Public: says nothing of what is inside."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import runtime_of
from gateway.jobs.runtime import Runtime
from gateway.media import StoreError

router = APIRouter(tags=["health"])
log = logging.getLogger(__name__)


@router.get("/livez", response_model=dict[str, Any])
async def livez() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=dict[str, Any])
def readyz(request: Request) -> JSONResponse:
    """The database answers, the store can be used and the engine runs, where it should; 503 if one does not,
    and while the process is being stopped."""
    runtime = runtime_of(request)
    if runtime.draining.is_set():
        return JSONResponse({"status": "draining", "checks": {}}, 503)
    checks = {"database": _database_answers(runtime), "store": _store_answers(runtime)}
    if runtime.duties.any:
        checks["engine"] = runtime.engine.running
    ready = all(checks.values())
    shown = {name: "ok" if sound else "failing" for name, sound in checks.items()}
    return JSONResponse({"status": "ok" if ready else "failing", "checks": shown}, 200 if ready else 503)


def _database_answers(runtime: Runtime) -> bool:
    try:
        with runtime.db.read() as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError:
        log.exception("the database does not answer")
        return False
    return True


def _store_answers(runtime: Runtime) -> bool:
    try:
        runtime.store.check()
    except StoreError as error:
        log.error("the store cannot be used: %s", error.operator_detail)
        return False
    return True
