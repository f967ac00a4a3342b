from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from gateway.api import models
from gateway.api.app import PUBLIC_ROUTES, create_app, unguarded_routes
from gateway.api.auth import KEPT_S, Callers
from gateway.db import Database
from gateway.db.keys import Caller, create_key, create_tenant, revoke_key
from gateway.db.tables import metadata

PEPPER = b"pepper"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Any]:
    """As much of a runtime as authentication needs."""
    db = Database(f"sqlite:///{tmp_path / 'keys.db'}")
    with db.write() as connection:
        metadata.create_all(connection)
    settings = SimpleNamespace(max_body_bytes=1000, pools={}, metrics_public=False)
    registry = SimpleNamespace(catalog=SimpleNamespace(cards=()), adapters={})
    yield SimpleNamespace(db=db, pepper=PEPPER, settings=settings, registry=registry)
    db.close()


@pytest.fixture
def client(runtime: Any) -> Iterator[TestClient]:
    """The real app on it."""
    with TestClient(create_app(runtime), raise_server_exceptions=False) as client:
        yield client


def routes(app: FastAPI) -> list[tuple[str, str]]:
    contexts = iter_route_contexts(app.routes)
    return [(method, route.path or "") for route in contexts for method in sorted(route.methods or ())]


def test_every_route_but_the_public_ones_answers_401_without_a_key(client: TestClient) -> None:
    guarded = 0
    for method, path in routes(client.app):  # type: ignore[arg-type]  # typed as any ASGI app
        url = re.sub(r"\{\w+\}", "video_" + "0" * 26, path)
        response = client.request(method, url)
        if ("GET" if method == "HEAD" else method, path) in PUBLIC_ROUTES:
            assert response.status_code != 401, (method, path)
            continue
        guarded += 1
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            assert response.json()["error"]["code"] == "invalid_api_key"
    assert guarded >= 13


def test_a_route_without_the_dependency_is_refused_at_start(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = APIRouter()
    careless.get("/v1/secrets")(lambda: "all of them")
    monkeypatch.setattr(models, "router", careless)
    with pytest.raises(RuntimeError, match="/v1/secrets"):
        create_app(runtime)


def test_a_mounted_app_counts_as_exposed(runtime: Any) -> None:
    app = create_app(runtime)
    app.mount("/files", FastAPI(openapi_url=None))
    assert ("ANY", "/files") in unguarded_routes(app)


def test_keys_open_and_one_answer_covers_every_wrong_one(runtime: Any, client: TestClient) -> None:
    with runtime.db.write() as connection:
        tenant = create_tenant(connection, "one", "basic")
        good = create_key(connection, PEPPER, tenant, name="good").secret
        revoked = create_key(connection, PEPPER, tenant, name="revoked")
        revoke_key(connection, revoked.id)
    assert client.get("/v1/videos", headers={"authorization": f"bearer  {good} "}).status_code == 200
    answers = {
        client.get("/v1/videos", headers={b"authorization": value.encode("latin-1")}).text
        for value in (
            f"Bearer {revoked.secret}",
            f"Bearer {good[:-1]}",
            f"Bearer {good}x",
            f"Bearer {good[:20]}",
            f"Basic {good}",
            good,
            "Bearer",
            "Bearer ",
            "Bearer ' OR 1=1 --",
            "Bearer rg_live_",
            "Bearer " + "x" * 10_000,
            "Bearer \xff",
        )
    }
    assert len(answers) == 1


def test_a_key_is_looked_up_once_a_second_and_a_revoked_one_is_refused_after_that(
    runtime: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    client.app.state.callers = Callers(lambda: clock[0])  # type: ignore[attr-defined]  # typed as any ASGI app
    with runtime.db.write() as connection:
        key = create_key(connection, PEPPER, create_tenant(connection, "one", "basic"), name="key")

    def status() -> int:
        return client.get("/v1/videos", headers={"authorization": f"Bearer {key.secret}"}).status_code

    assert status() == 200
    with runtime.db.write() as connection:
        revoke_key(connection, key.id)
    clock[0] += KEPT_S - 0.001
    assert status() == 200
    clock[0] += 0.001
    assert status() == 401
    assert status() == 401


def test_a_known_key_opens_nothing_for_one_like_it(runtime: Any, client: TestClient) -> None:
    with runtime.db.write() as connection:
        secret = create_key(connection, PEPPER, create_tenant(connection, "one", "basic"), name="key").secret
    for sent, status in ((secret, 200), (secret + "x", 401), (secret[:-1], 401), (secret, 200)):
        assert client.get("/v1/videos", headers={"authorization": f"Bearer {sent}"}).status_code == status


def test_no_more_callers_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.auth.MOST_KEPT", 2)
    callers = Callers()
    caller = Caller(tenant_id="ten_1", tenant="one", tier="basic", key_id="key_1", admin=False)
    for secret in ("a", "b", "c"):
        callers.keep(secret, caller)
    assert callers.get("c") == caller
    assert callers.get("a") is None


@pytest.mark.parametrize(
    "path", ["/v1/videos/", "//v1/videos", "/v1/videos/x/../../livez", "/V1/videos", "/v1/videos%00", "/docs"]
)
def test_odd_spellings_of_a_path_open_nothing(client: TestClient, path: str) -> None:
    for host in ("gateway", "livez", "gateway?/livez", "gateway#/livez"):
        assert client.get(path, headers={"host": host}).status_code in (401, 404)
        assert client.get("/v1/videos", headers={"host": host}).status_code == 401
