"""Append-only money. Two accounts per video: the tenant's (hold, charge, release) and the provider cost.

The tenant's hold is taken at accept; at the terminal state ``hold = charge + release``. The provider account
records what each attempt was expected to cost (``estimate``), and then what it did (``actual``) or that it
cost nothing (``void``); an estimate with neither is exposure that a person or a late answer must resolve.
Each entry has a ``subject`` that is unique, so that no code path can write it twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from gateway.db import new_id, now
from gateway.db.tables import ledger_entries


@dataclass(frozen=True, kw_only=True)
class Parties:
    """Whose money an entry is about."""

    tenant_id: str
    video_id: str
    attempt_id: str


def hold(connection: sa.Connection, parties: Parties, micro_usd: int) -> None:
    """Reserve the most this video may cost its tenant."""
    _add(connection, parties, "hold", micro_usd)


def charge_and_release(
    connection: sa.Connection, parties: Parties, price_micro_usd: int, version: str
) -> int:
    """Charge ``min(price, hold)``, release the rest, return the charge. An overrun is absorbed and noted."""
    held = held_micro_usd(connection, parties.video_id)
    charged = min(price_micro_usd, held)
    detail = {"absorbed_micro_usd": price_micro_usd - charged} if price_micro_usd > charged else {}
    _add(connection, parties, "charge", charged, version, detail)
    _add(connection, parties, "release", held - charged)
    return charged


def release(connection: sa.Connection, parties: Parties) -> None:
    """Give the whole hold back: nothing was delivered, nothing is charged."""
    _add(connection, parties, "release", held_micro_usd(connection, parties.video_id))


def provider_estimate(connection: sa.Connection, parties: Parties, micro_usd: int, version: str) -> None:
    """Record what an attempt is expected to cost, before it is started."""
    _add(connection, parties, "estimate", micro_usd, version)


def provider_actual(connection: sa.Connection, parties: Parties, micro_usd: int, version: str) -> None:
    """Record what the provider bills, or what the device time cost."""
    _add(connection, parties, "actual", micro_usd, version)


def provider_void(connection: sa.Connection, parties: Parties) -> None:
    """Record that an attempt cost nothing."""
    _add(connection, parties, "void", 0)


def held_micro_usd(connection: sa.Connection, video_id: str) -> int:
    """The hold taken for this video."""
    query = sa.select(ledger_entries.c.amount_micro_usd).where(
        ledger_entries.c.video_id == video_id, ledger_entries.c.kind == "hold"
    )
    return int(connection.execute(query).scalar_one())


def _add(
    connection: sa.Connection,
    parties: Parties,
    kind: Literal["hold", "charge", "release", "estimate", "actual", "void"],
    micro_usd: int,
    version: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    tenants = kind in ("hold", "charge", "release")
    entry = {
        "id": new_id("led"),
        "video_id": parties.video_id,
        "attempt_id": parties.attempt_id,
        "tenant_id": parties.tenant_id,
        "account": "tenant" if tenants else "provider",
        "kind": kind,
        "amount_micro_usd": micro_usd,
        "subject": f"{parties.video_id if tenants else parties.attempt_id}:{kind}",
        "price_version": version,
        "detail": detail or {},
        "created_at": now(),
    }
    connection.execute(ledger_entries.insert(), entry)
