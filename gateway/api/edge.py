"""What every exchange gets before routing: a request id, a cap on its body, an answer if all else fails."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.errors import ApiError, internal_error
from gateway.db import new_id
from gateway.observe.logs import log_context
from gateway.observe.traces import annotate

log = logging.getLogger(__name__)


class Edge:
    """The outermost layer of the app, as pure ASGI so that nothing is buffered."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        annotate(request_id=request_id)
        with log_context(request_id=request_id):
            try:
                await self._app(scope, self._capped(scope, receive), send_marked)
            except Exception:  # the last resort: the cause goes to the log, never to the caller
                route = getattr(scope.get("route"), "path", scope["path"])  # a path may hold a signed token
                log.exception("%s %s failed (%s)", scope["method"], route, request_id)
                if started:
                    raise
                await internal_error(request_id).response()(scope, receive, send_marked)

    def _capped(self, scope: Scope, receive: Receive) -> Receive:
        """Refuse a body over the cap: by its declared length before reading, else by counting.

        An undeclared excess is noticed as it arrives, so at most one chunk more than the cap is ever held.
        """
        declared = Headers(scope=scope).get("content-length", "")
        length = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 20 else 0
        received = 0

        async def receive_capped() -> Message:
            nonlocal received
            if length > self._max:
                raise _too_large(self._max)
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max:
                raise _too_large(self._max)
            return message

        return receive_capped


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "request_too_large",
        f"The request is larger than {limit / 2**20:g} MiB: send smaller images. Nothing was charged.",
    )
