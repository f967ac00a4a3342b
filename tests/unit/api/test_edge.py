from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from gateway.api.app import _told
from gateway.api.edge import Edge
from gateway.api.errors import HANDLERS


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An app with a faulty route and one that reads its body, capped at 1000 bytes."""
    app = FastAPI(openapi_url=None)
    for kind in HANDLERS:
        app.add_exception_handler(kind, _told)
    app.add_middleware(Edge, max_body_bytes=1000)

    @app.get("/faulty")
    def faulty() -> None:
        raise RuntimeError("rg_live_secret")

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.get("/number")
    def number(limit: int) -> int:
        return limit

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_a_fault_is_told_by_its_request_id_alone(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = await client.get("/faulty")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (500, "internal_error", "server_error")
    assert response.headers["x-request-id"] in error["message"]
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in caplog.text


async def test_bodies_are_capped_by_declaration_and_by_count(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100

    assert (await client.post("/read", content=b"x" * 1000)).json() == 1000
    for response in (
        await client.post("/read", content=b"x" * 1001),
        await client.post("/read", content=endless()),
    ):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("PUT", "/read", 405, "method_not_allowed"),
        ("GET", "/number?limit=x", 400, "invalid_type"),
        ("GET", "/number", 400, "missing_required_parameter"),
    ],
)
async def test_what_the_framework_refuses_comes_in_the_envelope(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-content-type-options"] == "nosniff"
    if "number" in path:
        assert error["param"] == "limit"
