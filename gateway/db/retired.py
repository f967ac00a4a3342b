"""Offers that are gone, as their providers answered a submit; a person may restore them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.db.engine import now
from gateway.db.tables import retired_offers


@dataclass(frozen=True, kw_only=True)
class Retired:
    """Since when an offer is passed over, and what the provider said, fit for callers."""

    offer: str
    since: datetime
    said: str


def read_retired(connection: sa.Connection) -> Mapping[str, Retired]:
    """Every retired offer, by its id."""
    query = sa.select(retired_offers).order_by(retired_offers.c.offer)
    return {row.offer: Retired(**row._mapping) for row in connection.execute(query)}


def retire(connection: sa.Connection, offer: str, said: str) -> bool:
    """Pass an offer over from now on; False if it was already."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    fresh = {"offer": offer, "since": now(), "said": said}
    return connection.execute(insert(retired_offers).values(fresh).on_conflict_do_nothing()).rowcount == 1


def restore(connection: sa.Connection, offer: str) -> bool:
    """Route to an offer again; False if it was not retired."""
    return connection.execute(retired_offers.delete().where(retired_offers.c.offer == offer)).rowcount == 1
