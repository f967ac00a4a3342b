"""Disturbed answers: a connection that is closed, a body that never ends, a page instead of JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate

from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send

from gateway.kit.sandbox import FakeProvider, Refusal
from gateway.sandbox.faults import Fault

TRANSPORT = "reelgate.transport"
"""The scope's key for the connection itself."""

_DRIP_S = 0.25
_WAIT_S = 2
_PAGE = "<!doctype html><title>Bad gateway</title><h1>Something in between answered.</h1>"
_REFUSALS: Mapping[str, Refusal] = {
    "rate_limited": "rate_limited",
    "server_error_burst": "server_error",
    "out_of_credit": "out_of_credit",
    "content_refused": "content_refused",
    "model_gone": "model_gone",
}


async def disturbed(fault: Fault, fake: FakeProvider, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a call as the fault has it."""
    if fault.name in ("drop_before_accept", "drop_after_accept"):
        await drop(scope, receive)
    elif fault.name == "html":
        await HTMLResponse(_PAGE)(scope, receive, send)
    elif fault.name == "slow_body":
        headers = {"Content-Type": "application/json"}
        await drip(receive, send, headers, b'{"', drop_of=b" ", seconds=float(fault.value))
        await drop(scope, receive)
    else:
        await _refused(fault, fake)(scope, receive, send)


def _refused(fault: Fault, fake: FakeProvider) -> Response:
    response = fake.refuse(_REFUSALS[fault.name])
    if fault.name == "rate_limited":
        del response.headers["Retry-After"]
        response.headers.update(_retry_after(fault.value))
    return response


def _retry_after(form: str) -> dict[str, str]:
    forms = {
        "seconds": str(_WAIT_S),
        "date": formatdate(time.time() + _WAIT_S, usegmt=True),
        "negative": "-5",
        "nan": "nan",
        "huge": "86400000000",
    }
    return {"Retry-After": forms[form]} if form in forms else {}


async def drop(scope: Scope, receive: Receive) -> None:
    """Close the connection, whatever was answered so far.

    Raises:
        ConnectionAbortedError: the server does not hand its connections out.
    """
    transport = scope.get(TRANSPORT)
    if transport is None:
        raise ConnectionAbortedError
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass  # the rest of the request's body


async def drip(
    receive: Receive, send: Send, headers: Mapping[str, str], start: bytes, *, drop_of: bytes, seconds: float
) -> None:
    """Begin an answer, then send next to nothing for so long, or until the client leaves."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send({"type": "http.response.body", "body": start, "more_body": True})
    leaving = asyncio.ensure_future(_left(receive))
    try:
        end = time.monotonic() + seconds
        while not leaving.done() and (left := end - time.monotonic()) > 0:
            await asyncio.wait([leaving], timeout=min(left, _DRIP_S))
            await send({"type": "http.response.body", "body": drop_of, "more_body": True})
    finally:
        leaving.cancel()


async def _left(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
