"""``reelgate tenants``: who may ask for how much."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
import typer

from gateway.catalog.prices import from_micro_usd, to_micro_usd
from gateway.cli._amounts import usd
from gateway.cli._open import opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli.exits import CliError, ExitCode
from gateway.db.tables import tenants
from gateway.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="List the tenants and change their limits.")
NO_LIMIT = "none"


@app.command("list")
def list_tenants(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the tenants with their limits."""
    with opened_database(load_settings(data_dir)) as db, db.read() as connection:
        found = [_listed(row) for row in connection.execute(sa.select(tenants).order_by(tenants.c.id))]
    if as_json:
        emit({"tenants": found})
        return
    columns = tuple(found[0]) if found else ("id",)
    console().print(table("Tenants", columns, (tuple(tenant.values()) for tenant in found)))


@app.command("set")
def set_limits(
    name: Annotated[str, typer.Argument(help="The tenant's name, as `reelgate tenants list` shows it.")],
    tier: Annotated[str | None, typer.Option(help="The highest tier it may ask for.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="US dollars per calendar month, or none for no budget.")
    ] = None,
    weight: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Its share of a device pool, beside the others'.")
    ] = None,
    max_active: Annotated[
        str | None, typer.Option(help="Videos under way at once, the others wait; or none for no limit.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change a tenant's limits, for what is accepted or started from now on; what is not named stays."""
    settings = load_settings(data_dir)
    if tier is not None and tier not in settings.tiers:
        known = ", ".join(settings.tiers)
        raise CliError(ExitCode.USAGE, f"There is no tier {tier!r}: use one of {known}.")
    changed: dict[str, Any] = {"tier": tier, "weight": weight}
    changed = {column: value for column, value in changed.items() if value is not None}
    if budget is not None:
        limit = None if budget == NO_LIMIT else to_micro_usd(usd("--budget", budget))
        changed["monthly_budget_micro_usd"] = limit
    if max_active is not None:
        changed["max_active"] = None if max_active == NO_LIMIT else _positive("--max-active", max_active)
    if not changed:
        raise CliError(ExitCode.USAGE, "Nothing to change: give --tier, --budget, --weight or --max-active.")
    with opened_database(settings) as db, db.write() as connection:
        mine = tenants.update().where(tenants.c.name == name).values(**changed).returning(*tenants.c)
        row = connection.execute(mine).one_or_none()
    if row is None:
        raise CliError(
            ExitCode.NOT_FOUND, f"There is no tenant {name!r}: `reelgate tenants list` lists them."
        )
    if as_json:
        emit(_listed(row))
    else:
        typer.echo(", ".join(f"{column} {value}" for column, value in _listed(row).items()))


def _positive(option: str, given: str) -> int:
    if not given.isdecimal() or not 1 <= int(given) <= 1_000_000:
        raise CliError(ExitCode.USAGE, f"{option}: {given!r} is neither a whole number from 1 nor none.")
    return int(given)


def _listed(row: sa.Row[Any]) -> dict[str, Any]:
    budget = row.monthly_budget_micro_usd
    return {
        "id": row.id,
        "name": row.name,
        "tier": row.tier,
        "budget_usd": None if budget is None else f"{from_micro_usd(budget):f}",
        "weight": row.weight,
        "max_active": row.max_active,
    }
