"""Metrics for Prometheus, and the counting of what this process answers."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.auth import Authenticated, only_admins, runtime_of
from gateway.observe import traces
from gateway.observe.metrics import Metrics

PATH = "/metrics"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"

for_admins = APIRouter(tags=["metrics"])
for_all = APIRouter(tags=["metrics"])
"""Instead of the other where the setting ``metrics_public`` says so."""


@for_admins.get(PATH, response_class=Response)
def metrics(request: Request, caller: Authenticated) -> Response:
    """The metrics, for an admin key (or for all, see the setting metrics_public)."""
    only_admins(caller, "Only an admin key may read the metrics.")
    return _scraped(request)


@for_all.get(PATH, response_class=Response)
def public_metrics(request: Request) -> Response:
    """The metrics, without a key."""
    return _scraped(request)


def _scraped(request: Request) -> Response:
    runtime = runtime_of(request)
    kept: Metrics = request.app.state.metrics
    text, media_type = kept.scrape(runtime.db, runtime.settings.pools, request.headers.get("accept", ""))
    return Response(text, media_type=media_type)


class Observed:
    """Around the whole app, as pure ASGI: counts each answer, and traces what goes to ``/v1/``."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif traces.tracing() and scope["path"].startswith("/v1/"):
            parent = Headers(scope=scope).get("traceparent")
            method = _method(scope)
            with traces.span(method, parent=parent, kind="server", method=method):
                await self._counted(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                method, route = _method(scope), _route(scope)
                self._metrics.answered(method, route, message["status"], time.perf_counter() - begun)
                traces.annotate(f"{method} {route}", route=route, status=message["status"])
            await send(message)

        await self._app(scope, receive, send_counted)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else OTHER


def _route(scope: Scope) -> str:
    """The template, so that ids make no series of their own; what matched none is one."""
    return getattr(scope.get("route"), "path", OTHER)
