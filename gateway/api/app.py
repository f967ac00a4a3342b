"""The app: routes, errors and the edge, put together around a runtime."""

from __future__ import annotations

from collections.abc import Set
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts

from gateway.api import (
    accounts,
    content,
    events,
    files,
    finals,
    health,
    hooks,
    metrics,
    models,
    reconcile,
    usage,
    videos,
)
from gateway.api.auth import Callers, authenticate
from gateway.api.edge import Edge
from gateway.api.errors import HANDLERS
from gateway.api.schemas import ErrorReply
from gateway.api.threads import SQL_THREADS
from gateway.jobs.runtime import Runtime
from gateway.observe.metrics import Metrics

PUBLIC_ROUTES = frozenset(
    {
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/files/{token}"),
        ("POST", "/hooks/{adapter}/{token}"),
    }
)
"""What answers without a key (a HEAD counts as its GET); every other route depends on ``authenticate``."""

IMAGE_DECODERS = 2
"""Requests whose images are decoded at once: the largest that is allowed takes a few hundred MB."""

IMAGE_FETCHERS = 32
"""Requests whose images are fetched at once; each may hold ``max_body_bytes`` of them."""


def create_app(runtime: Runtime) -> FastAPI:
    """The ASGI app over an opened runtime; starting and closing the runtime is the caller's.

    Raises:
        RuntimeError: a route is neither public nor behind a key.
    """
    app = FastAPI(
        title="Reelgate",
        version=version("reelgate"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorReply}, "5XX": {"model": ErrorReply}},
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
        },  # it would tell paths and errors' texts
    )
    app.state.runtime = runtime
    app.state.metrics = Metrics()
    app.state.decoders = CapacityLimiter(IMAGE_DECODERS)
    app.state.fetchers = CapacityLimiter(IMAGE_FETCHERS)
    app.state.sql = CapacityLimiter(SQL_THREADS)
    app.state.callers = Callers()
    for module in (
        health,
        models,
        videos,
        finals,
        content,
        files,
        events,
        usage,
        accounts,
        reconcile,
        hooks,
    ):
        app.include_router(module.router)
    scraped_by_all = runtime.settings.metrics_public
    app.include_router(metrics.for_all if scraped_by_all else metrics.for_admins)
    for kind in HANDLERS:
        app.add_exception_handler(kind, _told)
    app.add_middleware(Edge, max_body_bytes=runtime.settings.max_body_bytes)
    app.add_middleware(metrics.Observed, metrics=app.state.metrics)
    exposed = unguarded_routes(
        app, PUBLIC_ROUTES | {("GET", metrics.PATH)} if scraped_by_all else PUBLIC_ROUTES
    )
    if exposed:
        raise RuntimeError(f"routes without authentication: {exposed}; add Authenticated, or list as public")
    return app


def unguarded_routes(app: FastAPI, public: Set[tuple[str, str]] = PUBLIC_ROUTES) -> list[tuple[str, str]]:
    """Routes (method, path) that need no key and are not listed as public."""
    found = []
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        guarded = dependant is not None and any(d.call is authenticate for d in dependant.dependencies)
        for method in sorted(getattr(route, "methods", None) or {"ANY"}):
            listed = ("GET" if method == "HEAD" else method, getattr(route, "path", "")) in public
            if not guarded and not listed:
                found.append((method, getattr(route, "path", "")))
    return found


async def _told(request: Request, error: Exception) -> Response:
    tell = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    return tell(error, request).response()
