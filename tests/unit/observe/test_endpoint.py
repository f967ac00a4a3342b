"""Who may read the metrics, and what is counted of the requests to this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.api import models
from gateway.api.app import create_app, unguarded_routes
from gateway.db import Database
from gateway.db.keys import create_key, create_tenant
from gateway.db.tables import metadata
from gateway.observe import traces

from .conftest import Log

PEPPER = b"pepper"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path / 'test.db'}")) as db:
        with db.write() as connection:
            metadata.create_all(connection)
        yield db


@pytest.fixture
def serve(db: Database) -> Iterator[Callable[..., TestClient]]:
    """The real app over as much of a runtime as these routes need."""
    with ExitStack() as stack:

        def start(*, public: bool = False) -> TestClient:
            settings = SimpleNamespace(
                max_body_bytes=1000, pools={"cpu": None}, metrics_public=public, sandbox_only=False
            )
            registry = SimpleNamespace(catalog=SimpleNamespace(cards=()), adapters={}, stand_ins={})
            runtime: Any = SimpleNamespace(db=db, pepper=PEPPER, settings=settings, registry=registry)
            return stack.enter_context(TestClient(create_app(runtime), raise_server_exceptions=False))

        yield start


@pytest.fixture
def keys(db: Database) -> dict[str, dict[str, str]]:
    """Headers of an admin's and of a tenant's key."""
    with db.write() as connection:
        tenant = create_tenant(connection, "acme", "basic")
        made = {
            name: create_key(connection, PEPPER, tenant, name=name, admin=name == "admin").secret
            for name in ("admin", "tenant")
        }
    return {name: {"authorization": f"Bearer {secret}"} for name, secret in made.items()}


def test_an_admin_key_reads_the_metrics_and_no_other(
    serve: Callable[..., TestClient], keys: dict[str, dict[str, str]]
) -> None:
    client = serve()
    assert client.get("/metrics").status_code == 401
    refused = client.get("/metrics", headers=keys["tenant"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_only")
    answer = client.get("/metrics", headers=keys["admin"])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE reelgate_queue_depth gauge" in answer.text
    assert 'reelgate_queue_depth{pool="cpu"} 0.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text


def test_the_setting_opens_the_metrics_and_nothing_else(serve: Callable[..., TestClient]) -> None:
    client = serve(public=True)
    assert client.get("/metrics").status_code == 200
    assert client.get("/v1/models").status_code == 401
    assert unguarded_routes(client.app) == [("GET", "/metrics")]  # type: ignore[arg-type]  # typed as any app


def test_requests_are_counted_by_template_and_status(
    serve: Callable[..., TestClient], keys: dict[str, dict[str, str]]
) -> None:
    client = serve(public=True)
    for number in range(3):
        client.get(f"/v1/videos/video_{number:026}", headers=keys["tenant"])
    client.get("/v1/videos/video_00000000000000000000000000")
    client.get("/no/such/page")
    client.request("BREW", "/v1/videos")
    text = client.get("/metrics").text

    assert 'reelgate_http_requests_total{method="GET",route="/v1/videos/{video_id}",status="404"} 3.0' in text
    assert 'route="/v1/videos/{video_id}",status="401"} 1.0' in text
    assert 'reelgate_http_requests_total{method="GET",route="other",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "video_000" not in text
    assert "BREW" not in text
    assert 'reelgate_http_response_seconds_count{method="GET",route="/v1/videos/{video_id}"} 4.0' in text


def test_an_unforeseen_failure_is_counted_traced_and_logged_with_its_request(
    serve: Callable[..., TestClient],
    keys: dict[str, dict[str, str]],
    log: Log,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = serve(public=True)
    monkeypatch.setattr(models, "runtime_of", lambda _: 1 / 0)
    answer = client.get("/v1/models", headers=keys["tenant"])
    assert answer.status_code == 500
    assert log.last["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivisionError" in log.last["exception"]
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok
    assert 'route="/v1/models",status="500"} 1.0' in client.get("/metrics").text


def test_a_request_is_a_span_that_goes_on_from_its_callers(
    serve: Callable[..., TestClient],
    keys: dict[str, dict[str, str]],
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed_on = []
    adapters_of = models.runtime_of

    def spy(request: Any) -> Any:
        handed_on.append(traces.traceparent())
        return adapters_of(request)

    monkeypatch.setattr(models, "runtime_of", spy)
    client = serve()
    answer = client.get("/v1/models?secret=1", headers={**keys["tenant"], "traceparent": PARENT})
    client.get("/livez")
    (span,) = spans.get_finished_spans()
    assert span.name == "GET /v1/models"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/models",
        "http.response.status_code": 200,
        "reelgate.request_id": answer.headers["x-request-id"],
    }
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" in PARENT
    assert handed_on == [f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"]
