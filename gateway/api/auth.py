"""Who is calling. A dependency of every route that is not listed as public (see app.py)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from gateway.api.errors import ApiError
from gateway.api.threads import in_sql_thread
from gateway.db.keys import Caller, verify_key
from gateway.jobs.runtime import Runtime

KEPT_S = 1.0
"""For how long a process takes a key as good without asking SQL again: so soon is a revoked one refused."""

MOST_KEPT = 10_000
_MAX_SECRET = 500


def runtime_of(request: Request) -> Runtime:
    """The process's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


class Callers:
    """Whose a secret is, as SQL said at most ``KEPT_S`` seconds ago, by the secret's digest.

    A key that is revoked works that much longer in a process that has just seen it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Caller, float]] = {}

    def get(self, secret: str) -> Caller | None:
        """The caller, if it is known."""
        caller, until = self._known.get(_digest(secret), (None, 0.0))
        return caller if self._clock() < until else None

    def keep(self, secret: str, caller: Caller) -> None:
        """Remember who this is."""
        if len(self._known) >= MOST_KEPT:
            self._known.clear()
        self._known[_digest(secret)] = (caller, self._clock() + KEPT_S)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def authenticate(request: Request) -> Caller:
    """The tenant behind ``Authorization: Bearer``.

    Raises:
        ApiError: 401, one answer for a missing, malformed, unknown and revoked key.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > _MAX_SECRET:
        raise _denied()
    callers: Callers = request.app.state.callers
    caller = callers.get(secret)
    if caller is None:
        caller = await in_sql_thread(request, partial(_verify, runtime_of(request), secret))
        if caller is None:
            raise _denied()
        callers.keep(secret, caller)
    return caller


def only_admins(caller: Caller, message: str, param: str | None = None) -> None:
    """Let admin keys pass; a key for test mode is none, whatever else it may do.

    Raises:
        ApiError: 403 ``admin_only``, with this message.
    """
    if not (caller.admin and caller.livemode):
        raise ApiError(403, "admin_only", message, type="permission_error", param=param)


def _verify(runtime: Runtime, secret: str) -> Caller | None:
    with runtime.db.read() as connection:
        return verify_key(connection, runtime.pepper, secret)


def _denied() -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        "A valid API key is needed: send it as 'Authorization: Bearer rg_live_…' (or rg_test_…). "
        "The operator makes keys with 'reelgate keys create' and the server's --data-dir.",
        type="authentication_error",
        headers={"www-authenticate": "Bearer"},
    )


Authenticated = Annotated[Caller, Depends(authenticate)]
