"""A running gateway: real engine, real SQL, real server on a port of this machine, echo as its only model."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.api.app import create_app
from gateway.db.keys import NewKey, create_key, create_tenant
from gateway.jobs.runtime import Runtime
from gateway.settings import Pool, Settings
from gateway.spec import Adapter, Offer

MIB = 1024**2


@dataclass(frozen=True, kw_only=True)
class Server:
    """One running server; ``key`` is an admin's, ``other`` another tenant's of the lowest tier."""

    url: str
    runtime: Runtime
    key: NewKey
    other: NewKey

    def client(self, key: NewKey | None = None) -> httpx.Client:
        """A client with a key."""
        headers = {"authorization": f"Bearer {(key or self.key).secret}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def finished(self, video_id: str) -> dict[str, Any]:
        """Wait for a video's end, which is where its events end."""
        with self.client() as client:
            assert client.get(f"/v1/videos/{video_id}/events").status_code == 200
            found: dict[str, Any] = client.get(f"/v1/videos/{video_id}").json()
        assert found["status"] in ("completed", "failed")
        return found


@pytest.fixture(scope="module")
def server(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started once per module and database: the engine allows one running gateway per process."""
    with running(module_database_url, tmp_path_factory.mktemp("server")) as server:
        yield server


@contextmanager
def running(
    database_url: str,
    data_dir: Path,
    *adapters: Adapter,
    plugins: tuple[str, ...] = (),
    offers: tuple[Any, ...] = (),
    **more: Any,
) -> Iterator[Server]:
    """A gateway on two slots; ``adapters``, ``plugins`` and ``offers`` are what it has besides echo's."""
    settings = Settings(
        data_dir=data_dir,
        database_url=database_url,
        isolation="none",
        enabled_plugins=("echo", "policies", *plugins),
        policy="cheapest",
        pools={"cpu": Pool.model_validate({"devices": ("cpu", "cpu")})},
        offers=tuple(Offer.model_validate(offer) for offer in offers),
        max_image_bytes=MIB,
        max_body_bytes=4 * MIB,
        **more,
    )
    runtime = Runtime.open(settings)
    brought = {adapter.name: adapter for adapter in adapters}
    runtime.registry = replace(runtime.registry, adapters={**runtime.registry.adapters, **brought})
    with runtime.db.write() as connection:
        first = create_tenant(connection, "first", "enterprise")
        second = create_tenant(connection, "second", "basic", monthly_budget_micro_usd=1_000)
        key = create_key(connection, runtime.pepper, first, name="first", admin=True)
        other = create_key(connection, runtime.pepper, second, name="second")
    runtime.start()
    try:
        with served(runtime) as url:
            yield Server(url=url, runtime=runtime, key=key, other=other)
    finally:
        runtime.close()


@contextmanager
def served(runtime: Runtime) -> Iterator[str]:
    """Uvicorn in a thread, on a free port; yields its address."""
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it each reply waits 40 ms
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(runtime), log_config=None, timeout_graceful_shutdown=2, lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        runtime.stopping.set()  # ends event streams that a failed test left open
        running.should_exit = True
        thread.join(timeout=10)
        listening.close()
        assert not thread.is_alive()
