"""Who is calling. A dependency of every route that is not listed as public (see app.py)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from gateway.api.errors import ApiError
from gateway.db.keys import Caller, verify_key
from gateway.jobs.runtime import Runtime

_MAX_SECRET = 500


def runtime_of(request: Request) -> Runtime:
    """The process's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def authenticate(request: Request) -> Caller:
    """The tenant behind ``Authorization: Bearer``; reads SQL, so it runs in a thread.

    Raises:
        ApiError: 401, one answer for a missing, malformed, unknown and revoked key.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > _MAX_SECRET:
        raise _denied()
    runtime = runtime_of(request)
    with runtime.db.read() as connection:
        caller = verify_key(connection, runtime.pepper, secret)
    if caller is None:
        raise _denied()
    return caller


def _denied() -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        "A valid API key is needed: send it as 'Authorization: Bearer rg_live_…'. "
        "The operator makes keys with 'reelgate keys create' and the server's --data-dir.",
        type="authentication_error",
        headers={"www-authenticate": "Bearer"},
    )


Authenticated = Annotated[Caller, Depends(authenticate)]
