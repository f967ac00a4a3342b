"""A sandbox that serves the toy provider, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.sandbox.testing import SandboxWorld

from .toy._sandbox import KEY, FakeToy
from .toy.adapter import Toy


@pytest.fixture
def world() -> Iterator[SandboxWorld]:
    with SandboxWorld(FakeToy(), Toy) as world:
        yield world


@dataclass(frozen=True)
class Customer:
    """Speaks the toy's wire format."""

    http: httpx.Client
    world: SandboxWorld

    def create(self, prompt: str = "a fox", **fields: Any) -> httpx.Response:
        body = {"prompt": prompt, "width": 64, "height": 48, "seconds": "1", "fps": 8, **fields}
        return self.http.post("/jobs", json=body)

    def ordered(self, prompt: str = "a fox", **fields: Any) -> str:
        """Create a job; its id."""
        reply = self.create(prompt, **fields)
        assert reply.status_code == 200, reply.text
        id: str = reply.json()["id"]
        return id

    def look(self, id: str) -> httpx.Response:
        return self.http.get(f"/jobs/{id}")

    def state(self, id: str) -> str:
        state: str = self.look(id).json()["state"]
        return state

    def file(self, id: str, **headers: str) -> httpx.Response:
        """The file behind the job's address."""
        return httpx.get(self.look(id).json()["url"], headers=headers)


@pytest.fixture
def customer(world: SandboxWorld) -> Iterator[Customer]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=world.url, headers=headers, timeout=5) as http:
        yield Customer(http, world)
