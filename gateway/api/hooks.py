"""Where providers call back: it has the gateway look at a job of its own now instead of later, no more."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from gateway.api.auth import runtime_of
from gateway.api.errors import ApiError
from gateway.jobs.callbacks import PATH, BadToken, read_token
from gateway.jobs.hooks import account_called, wake
from gateway.spec import Adapter, NotAuthorised, ParsesWebhooks, ProviderError

router = APIRouter(tags=["hooks"])
log = logging.getLogger(__name__)

MAX_BODY = 256 * 1024
"""What a provider says of one job is far shorter."""


@router.post(PATH, status_code=204, response_class=Response)
async def called_back(request: Request, adapter: str, token: str) -> Response:
    """Take a provider's word that there is something to see; 204, whether or not there still is."""
    runtime = runtime_of(request)
    try:
        signed = read_token(runtime.pepper, adapter, token)
    except BadToken:
        message = "There is no such hook: the address is incomplete, or was made by another gateway."
        raise ApiError(404, "hook_not_found", message, param="token") from None
    body = await _body(request)
    account = await run_in_threadpool(account_called, runtime, signed)
    found = None if account is None else runtime.registry.find(adapter, account)
    ids = _verified(found, request, body)
    woken = await run_in_threadpool(wake, runtime, adapter, signed, ids)
    log.debug("adapter %s called back, and woke %d attempts", adapter, woken)
    return Response(status_code=204)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, "request_too_large", f"A call back holds at most {MAX_BODY // 1024} KiB.")
    return body


def _verified(found: Adapter | None, request: Request, body: bytes) -> Sequence[str]:
    """The ids that a sound call speaks of; none where the provider signs nothing, and the token is all."""
    if not isinstance(found, ParsesWebhooks):
        return ()
    try:
        return found.parse_webhook(dict(request.headers), body)
    except NotAuthorised as error:
        log.warning("a call back for adapter %s is not signed by its provider: %s", found.name, error)
        message = "The signature is missing or wrong: nothing was done."
        raise ApiError(401, "bad_signature", message, type="authentication_error") from None
    except ProviderError as error:
        log.warning("a call back for adapter %s cannot be read: %s", found.name, error.operator_detail)
        message = "This is not what the provider's documentation says a call looks like: nothing was done."
        raise ApiError(400, "invalid_request", message) from None
