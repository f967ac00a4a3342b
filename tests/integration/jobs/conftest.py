"""A runtime that is open but not started: the tests run each workflow when they choose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.keys import Caller, create_key, create_tenant, verify_key
from gateway.db.tables import attempts, ledger_entries, videos
from gateway.jobs.accept import accept
from gateway.jobs.records import VideoRecord, get_video
from gateway.jobs.runtime import Runtime
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.ledger.verify import verify_ledger
from gateway.settings import load_settings
from gateway.spec import RemoteAdapter, VideoRequest


@dataclass
class World:
    """A gateway and one tenant's key, with short words for what the tests do."""

    runtime: Runtime
    caller: Caller

    def accept(self, **fields: Any) -> str:
        """Accept a request and return the video's id."""
        request = VideoRequest(**{"prompt": "a red circle", "model": "echo-remote", **fields})
        return str(accept(self.runtime, self.caller, request, {}, reply=_id).reply["id"])

    def video(self, video_id: str) -> VideoRecord:
        with self.runtime.db.read() as connection:
            return get_video(connection, self.caller, video_id)

    def attempt(self, video_id: str, number: int = 1) -> sa.Row[Any]:
        query = sa.select(attempts).where(attempts.c.video_id == video_id, attempts.c.number == number)
        with self.runtime.db.read() as connection:
            return connection.execute(query).one()

    def update(self, attempt_id: str, **values: Any) -> None:
        """Set an attempt's columns, as an earlier process might have left them."""
        with self.runtime.db.write() as connection:
            connection.execute(attempts.update().where(attempts.c.id == attempt_id).values(**values))

    def update_video(self, video_id: str, **values: Any) -> None:
        with self.runtime.db.write() as connection:
            connection.execute(videos.update().where(videos.c.id == video_id).values(**values))

    def money(self, video_id: str) -> dict[str, int]:
        """The ledger of a video: kind → micro-USD."""
        query = sa.select(ledger_entries).where(ledger_entries.c.video_id == video_id)
        with self.runtime.db.read() as connection:
            return {row.kind: row.amount_micro_usd for row in connection.execute(query)}

    @property
    def workflows(self) -> str:
        """The engine's table of workflows, as SQL names it."""
        return "workflow_status" if self.runtime.db.is_sqlite else "dbos.workflow_status"

    def enqueued(self) -> list[str]:
        """The ids of the workflows that wait in the engine."""
        query = sa.text(f"SELECT workflow_uuid FROM {self.workflows} ORDER BY created_at")
        with self.runtime.db.read() as connection:
            return [row[0] for row in connection.execute(query)]

    def bill(self) -> list[dict[str, Any]]:
        """What the imitated provider says it was asked to do."""
        file = self.runtime.settings.data_dir / "echo" / "bill.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def install(self, adapter: RemoteAdapter) -> None:
        """Have another adapter beside the plugins'."""
        registry = self.runtime.registry
        adapters = {**registry.adapters, adapter.name: adapter}
        self.runtime.registry = replace(registry, adapters=adapters)

    def submitted(self, video_id: str, number: int = 1) -> sa.Row[Any]:
        """Run the submit of an attempt, and what it is then."""
        submit(self.runtime, self.attempt(video_id, number).id)
        return self.attempt(video_id, number)

    def look(self, attempt_id: str) -> None:
        """One round of the watcher, with this attempt due."""
        self.update(attempt_id, next_poll_at=now() - timedelta(seconds=1))

        async def round_() -> None:
            watcher = Watcher(self.runtime)
            await watcher._tick()
            await asyncio.gather(*watcher._looks)

        self.runtime.io.run(round_())

    def problems(self) -> list[str]:
        with self.runtime.db.read() as connection:
            return verify_ledger(connection)


def _id(record: VideoRecord) -> dict[str, Any]:
    return {"id": record.id}


@pytest.fixture
def make_world(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[Callable[..., World]]:
    opened: list[Runtime] = []

    def make(*, budget: int | None = None, tier: str = "enterprise", **overrides: Any) -> World:
        settings = load_settings(
            tmp_path / f"data{len(opened)}",
            **{"enabled_plugins": ("echo", "policies"), "database_url": new_database(), **overrides},
        )
        runtime = Runtime.open(settings)
        opened.append(runtime)
        with runtime.db.write() as connection:
            tenant = create_tenant(connection, "acme", tier, budget)
            key = create_key(connection, runtime.pepper, tenant, name="test")
        with runtime.db.read() as connection:
            caller = verify_key(connection, runtime.pepper, key.secret)
        assert caller is not None
        return World(runtime, caller)

    yield make
    for runtime in opened:
        runtime.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
