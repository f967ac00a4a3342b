"""Echo's remote guise keeps the contract."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from adapters.echo import register_adapters
from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract, make_job
from gateway.spec import Cards, Job, Offer, PluginContext, RemoteAdapter


class EchoWorld:
    """The provider is its bill, and each job's options say what becomes of it."""

    origins: Collection[str] = ()

    def __init__(self, folder: Path) -> None:
        self._context = PluginContext(settings={}, data_dir=folder)
        self.order: dict[str, Any] = {}
        self.succeed()

    def adapter(self) -> RemoteAdapter:
        (found,) = (one for one in register_adapters(self._context) if isinstance(one, RemoteAdapter))
        return found

    def succeed(self) -> None:
        self.order = {"latency_ms": 0}

    def hold(self) -> None:
        self.order = {"latency_ms": 3_600_000}

    def fail(self) -> None:
        self.order = {"latency_ms": 0, "fail": "job"}

    def lose_answer(self) -> None:
        self.order = {"latency_ms": 0, "fail": "submit_lost"}

    def go_away(self) -> None:
        self.order = {"fail": "submit"}

    def created(self) -> int:
        bill = self._context.data_dir / "echo" / "bill.jsonl"
        lines = bill.read_text().splitlines() if bill.exists() else []
        return sum(json.loads(line)["event"] == "submit" for line in lines)


class TestEchoRemote(RemoteAdapterContract):
    simulated_work = frozenset({"_simulate_work"})

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.echo")

    @override
    @pytest.fixture
    def world(self, tmp_path: Path) -> EchoWorld:
        return EchoWorld(tmp_path)

    @override
    @pytest.fixture
    def job(self, offers: list[Offer], world: EchoWorld) -> Any:
        def build(**given: Any) -> Job:
            options = {**world.order, **given.pop("options", {})}
            return make_job(given.pop("offer", offers[0]), **{**self.shape, **given}, options=options)

        return build
