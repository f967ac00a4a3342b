"""Tenants and API keys. A key is shown once; what is kept is its HMAC under the deployment's pepper."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from gateway.db.engine import now
from gateway.db.ids import new_id
from gateway.db.tables import api_keys, tenants
from gateway.settings import Settings

LIVE_PREFIX = "rg_live_"
TEST_PREFIX = "rg_test_"
"""Of keys for test mode: what is made with them runs in the sandbox, and can never spend."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who a key belongs to. One that is not ``livemode`` sees and makes videos of test mode alone."""

    tenant_id: str
    tenant: str
    tier: str
    key_id: str
    admin: bool
    livemode: bool = True


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key just made; ``secret`` is never to be had again."""

    id: str
    secret: str = field(repr=False)
    tenant_id: str
    tenant: str
    tier: str
    admin: bool
    livemode: bool


def load_pepper(settings: Settings) -> bytes:
    """The deployment's pepper: from the settings, else a file of the data folder made on first use.

    Losing it makes every key invalid.
    """
    if settings.key_pepper is not None:
        return settings.key_pepper.get_secret_value().encode()
    file = settings.data_dir / "secrets" / "key_pepper"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return _create_pepper(file)


def derived_key(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose alone: HKDF-SHA256 (RFC 5869) without salt, of one block."""
    extracted = hmac.digest(b"\0" * hashlib.sha256().digest_size, secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def _create_pepper(file: Path) -> bytes:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(secrets.token_hex(32))
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(fresh, file)  # of two processes at their first start, one wins
    except FileExistsError:
        pass_on = file.read_bytes()
    else:
        pass_on = fresh.read_bytes()
    fresh.unlink()
    return pass_on


def create_tenant(
    connection: sa.Connection, name: str, tier: str, monthly_budget_micro_usd: int | None = None
) -> str:
    """Add a tenant and return its id.

    Raises:
        sqlalchemy.exc.IntegrityError: the name is taken.
    """
    tenant_id = new_id("ten")
    connection.execute(
        tenants.insert().values(
            id=tenant_id,
            name=name,
            tier=tier,
            monthly_budget_micro_usd=monthly_budget_micro_usd,
            created_at=now(),
        )
    )
    return tenant_id


def create_key(
    connection: sa.Connection,
    pepper: bytes,
    tenant_id: str,
    *,
    name: str,
    admin: bool = False,
    livemode: bool = True,
) -> NewKey:
    """Add a key for a tenant."""
    tenant = connection.execute(sa.select(tenants).where(tenants.c.id == tenant_id)).one()
    lookup = secrets.token_hex(4)
    secret = f"{LIVE_PREFIX if livemode else TEST_PREFIX}{lookup}_{secrets.token_urlsafe(32)}"
    key_id = new_id("key")
    connection.execute(
        api_keys.insert().values(
            id=key_id,
            tenant_id=tenant_id,
            lookup=lookup,
            digest=_digest(pepper, secret),
            name=name,
            admin=admin,
            livemode=livemode,
            created_at=now(),
        )
    )
    return NewKey(
        id=key_id,
        secret=secret,
        tenant_id=tenant_id,
        tenant=tenant.name,
        tier=tenant.tier,
        admin=admin,
        livemode=livemode,
    )


def revoke_key(connection: sa.Connection, key_id: str) -> bool:
    """Make a key invalid from now on; False if there is no such living key."""
    living = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
    return connection.execute(api_keys.update().where(living).values(revoked_at=now())).rowcount == 1


_LIVING = (
    sa.select(api_keys, tenants.c.name.label("tenant"), tenants.c.tier)
    .join(tenants, tenants.c.id == api_keys.c.tenant_id)
    .where(api_keys.c.lookup == sa.bindparam("lookup"), api_keys.c.revoked_at.is_(None))
)


def verify_key(connection: sa.Connection, pepper: bytes, secret: str) -> Caller | None:
    """Whose key this is; None if it is unknown, wrong or revoked."""
    row = connection.execute(_LIVING, {"lookup": _lookup(secret)}).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, _digest(pepper, secret)):
        return None
    return Caller(
        tenant_id=row.tenant_id,
        tenant=row.tenant,
        tier=row.tier,
        key_id=row.id,
        admin=row.admin,
        livemode=row.livemode,
    )


def _lookup(secret: str) -> str:
    for prefix in (LIVE_PREFIX, TEST_PREFIX):
        if secret.startswith(prefix):
            return secret.removeprefix(prefix).split("_", 1)[0]
    return ""


def _digest(pepper: bytes, secret: str) -> str:
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()
