"""``reelgate keys``: API keys, each shown once, when it is made."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
import typer

from gateway.catalog.prices import from_micro_usd, to_micro_usd
from gateway.cli._amounts import usd
from gateway.cli._open import DEFAULT_TENANT, opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli.exits import CliError, ExitCode
from gateway.db import Database
from gateway.db.keys import NewKey, create_key, create_tenant, load_pepper, revoke_key
from gateway.db.migrate import upgrade
from gateway.db.tables import api_keys, tenants
from gateway.settings import Settings, load_settings

NAME_CHARS = 200
"""What the columns hold."""

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    tenant: Annotated[
        str, typer.Option(help="Whose key it is; a new name makes a new tenant.")
    ] = DEFAULT_TENANT,
    tier: Annotated[
        str | None, typer.Option(help="A new tenant's tier.  [default: the lowest]", show_default=False)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="A new tenant's budget per calendar month, in US dollars.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    admin: Annotated[bool, typer.Option("--admin", help="The key may do what an operator does.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="The key runs in the sandbox, and can never spend.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, once."""
    for option, given in (("--tenant", tenant), ("--name", name)):
        if not 1 <= len(given) <= NAME_CHARS:
            raise CliError(ExitCode.USAGE, f"{option} takes 1 to {NAME_CHARS} characters, not {len(given)}.")
    if admin and test:
        raise CliError(ExitCode.USAGE, "--admin and --test exclude each other: leave one out.")
    settings = load_settings(data_dir)
    db = Database(settings.database_url)
    try:
        upgrade(db)
        with db.write() as connection:
            tenant_id = _tenant(connection, settings, tenant, tier, budget)
            key = create_key(
                connection, load_pepper(settings), tenant_id, name=name, admin=admin, livemode=not test
            )
    finally:
        db.close()
    if as_json:
        emit(_described(key))
        return
    typer.echo(f"{key.id}  tenant {key.tenant} ({key.tier}){'  admin' if key.admin else ''}", err=True)
    typer.echo("the key, shown this once:", err=True)
    typer.echo(key.secret)


@app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the keys; their secrets are not kept."""
    query = (
        sa.select(
            api_keys, tenants.c.name.label("tenant"), tenants.c.tier, tenants.c.monthly_budget_micro_usd
        )
        .join(tenants, tenants.c.id == api_keys.c.tenant_id)
        .order_by(api_keys.c.id)
    )
    with opened_database(load_settings(data_dir)) as db, db.read() as connection:
        keys = [_listed(row) for row in connection.execute(query)]
    if as_json:
        emit({"keys": keys})
        return
    columns = tuple(keys[0]) if keys else ("id",)
    console().print(table("API keys", columns, map(_cells, keys)))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `reelgate keys list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key invalid, from now on."""
    with opened_database(load_settings(data_dir)) as db, db.write() as connection:
        revoked = revoke_key(connection, key_id)
    if not revoked:
        raise CliError(
            ExitCode.NOT_FOUND, f"There is no living key {key_id!r}: `reelgate keys list` lists them."
        )
    if as_json:
        emit({"id": key_id, "revoked": True})
    else:
        typer.echo(f"{key_id} is revoked")


def _tenant(
    connection: sa.Connection, settings: Settings, name: str, tier: str | None, budget: str | None
) -> str:
    """The tenant's id; one that is new is made with this tier and budget."""
    if tier is not None and tier not in settings.tiers:
        known = ", ".join(settings.tiers)
        raise CliError(ExitCode.USAGE, f"There is no tier {tier!r}: use one of {known}.")
    limit = None if budget is None else to_micro_usd(usd("--budget", budget))
    found = connection.execute(sa.select(tenants.c.id).where(tenants.c.name == name)).scalar()
    if found is None:
        usual = settings.tiers[-1 if name == DEFAULT_TENANT else 0]
        return create_tenant(connection, name, tier or usual, limit)
    if tier is not None or budget is not None:
        raise CliError(
            ExitCode.USAGE,
            f"Tenant {name!r} exists, with a tier and a budget of its own: leave --tier and --budget out.",
        )
    return str(found)


def _described(key: NewKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "key": key.secret,
        "tenant": key.tenant,
        "tenant_id": key.tenant_id,
        "tier": key.tier,
        "admin": key.admin,
        "livemode": key.livemode,
    }


def _listed(row: sa.Row[Any]) -> dict[str, Any]:
    budget = row.monthly_budget_micro_usd
    return {
        "id": row.id,
        "name": row.name,
        "tenant": row.tenant,
        "tier": row.tier,
        "budget_usd": None if budget is None else f"{from_micro_usd(budget):f}",
        "admin": row.admin,
        "mode": "live" if row.livemode else "test",
        "created_at": row.created_at.isoformat(timespec="seconds"),
        "revoked_at": None if row.revoked_at is None else row.revoked_at.isoformat(timespec="seconds"),
    }


def _cells(key: dict[str, Any]) -> tuple[object, ...]:
    return tuple({**key, "admin": "yes" if key["admin"] else ""}.values())
