"""An empty database, and short words for writing a video's books into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import Database, new_id
from gateway.db.tables import api_keys, artefacts, attempts, ledger_entries, tenants, videos
from gateway.ledger.entries import (
    Parties,
    charge_and_release,
    hold,
    provider_actual,
    provider_estimate,
    provider_void,
    release,
)

NOON = datetime(2026, 12, 3, 12, tzinfo=UTC)


class Books:
    """Writes videos as the job code would leave them; ``acme`` is the tenant unless another is named."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.tenants: dict[str, str] = {}
        self.keys: dict[str, str] = {}

    def tenant(self, name: str, budget: int | None = None) -> str:
        tenant, key = new_id("ten"), new_id("key")
        about = {"id": tenant, "name": name, "tier": "pro", "monthly_budget_micro_usd": budget}
        with self.db.write() as connection:
            connection.execute(tenants.insert().values(**about, created_at=NOON))
            connection.execute(
                api_keys.insert().values(
                    id=key,
                    tenant_id=tenant,
                    lookup=key[-16:],
                    digest="",
                    name="k",
                    admin=False,
                    created_at=NOON,
                )
            )
        self.tenants[name], self.keys[name] = tenant, key
        return tenant

    def video(self, tenant: str = "acme", *, held: int = 100, at: datetime = NOON, **fields: Any) -> Parties:
        """An accepted video with its hold and first attempt."""
        values = {
            "id": new_id("video"),
            "tenant_id": self.tenants[tenant],
            "key_id": self.keys[tenant],
            "status": "queued",
            "request": {},
            "plan": {},
            "mode": "final",
            "tier": "pro",
            "model": "echo",
            "size": "64x64",
            "clip_ms": 1_000,
            "estimate_micro_usd": held,
            "hold_micro_usd": held,
            "created_at": at,
            "created_day": at.date(),
            "deadline_at": at,
            **fields,
        }
        with self.db.write() as connection:
            connection.execute(videos.insert().values(**values))
        parties = self.attempt(tenant, str(values["id"]))
        with self.db.write() as connection:
            hold(connection, parties, held)
        self.date(parties, at)
        return parties

    def attempt(self, tenant: str, video_id: str, number: int = 1, **fields: Any) -> Parties:
        values = {
            "id": new_id("att"),
            "video_id": video_id,
            "number": number,
            "kind": "local",
            "state": "planned",
            "model": "echo",
            "offer": "echo/echo",
            "adapter": "echo",
            "account": "local",
            "preset": "standard",
            "output": {},
            "size": "64x64",
            "clip_ms": 1_000,
            "tuned": False,
            "priority": 1,
            "price": {},
            "price_version": "1",
            "estimate_micro_usd": 100,
            "created_at": NOON,
            **fields,
        }
        parties = Parties(tenant_id=self.tenants[tenant], video_id=video_id, attempt_id=str(values["id"]))
        with self.db.write() as connection:
            connection.execute(attempts.insert().values(**values))
            provider_estimate(connection, parties, 100, "1")
        return parties

    def complete(self, parties: Parties, price: int, **times: Any) -> None:
        """Store, charge and release."""
        with self.db.write() as connection:
            provider_actual(connection, parties, price, "1")
            charged = charge_and_release(connection, parties, price, "1")
            connection.execute(
                artefacts.insert().values(
                    id=new_id("art"),
                    video_id=parties.video_id,
                    attempt_id=parties.attempt_id,
                    variant="video",
                    key="videos/1.mp4",
                    sha256="0" * 64,
                    bytes=1,
                    media_type="video/mp4",
                    created_at=NOON,
                )
            )
        self.date(parties, NOON, "release")
        self.update(videos, parties.video_id, status="completed", charge_micro_usd=charged)
        self.update(attempts, parties.attempt_id, state="succeeded", **times)

    def fail(self, parties: Parties) -> None:
        """Release everything."""
        with self.db.write() as connection:
            provider_void(connection, parties)
            release(connection, parties)
        self.date(parties, NOON, "release")
        self.update(videos, parties.video_id, status="failed", charge_micro_usd=0)
        self.update(attempts, parties.attempt_id, state="failed")

    def update(self, table: sa.Table, id_: str, **values: Any) -> None:
        with self.db.write() as connection:
            assert connection.execute(table.update().where(table.c.id == id_).values(**values)).rowcount == 1

    def entry(self, parties: Parties, kind: str) -> sa.Row[Any]:
        with self.db.read() as connection:
            return connection.execute(sa.select(ledger_entries).where(self._which(parties, kind))).one()

    def tamper(self, parties: Parties, kind: str, /, **values: Any) -> None:
        """Change an entry, which no code of ours does."""
        with self.db.write() as connection:
            changed = ledger_entries.update().where(self._which(parties, kind)).values(**values)
            assert connection.execute(changed).rowcount == 1

    def remove(self, parties: Parties, *kinds: str) -> None:
        """Delete entries, which no code of ours does."""
        with self.db.write() as connection:
            for kind in kinds:
                gone = ledger_entries.delete().where(self._which(parties, kind))
                assert connection.execute(gone).rowcount == 1

    def date(self, parties: Parties, at: datetime, kind: str = "hold") -> None:
        """Put an entry, which was written just now, at the moment that a test speaks of."""
        self.tamper(parties, kind, created_at=at)

    def _which(self, parties: Parties, kind: str) -> sa.ColumnElement[bool]:
        return (ledger_entries.c.video_id == parties.video_id) & (ledger_entries.c.kind == kind)


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    with closing(Database(database_url)) as db:
        made = Books(db)
        made.tenant("acme")
        yield made
