"""``reelgate usage``: the roll-ups of the record."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, cast

import typer

from gateway.api.usage import usage_row
from gateway.cli._open import opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, milliseconds, table
from gateway.cli.exits import CliError, ExitCode
from gateway.db import now
from gateway.ledger.usage import Dimension
from gateway.ledger.usage import usage as read_usage
from gateway.settings import load_settings

DEFAULT_DAYS = 30
DIMENSIONS: tuple[Dimension, ...] = ("model", "adapter", "tier", "day")


def command(
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First UTC day.  [default: 30 days]", show_default=False),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last UTC day.  [default: today]", show_default=False),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Of test mode, instead of live mode.")] = False,
    by: Annotated[str, typer.Option(help="Groups, with commas: model, adapter, tier, day.")] = "model",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what was made, what it cost and how long it took.

    Over all tenants; a video counts on the UTC day it was asked for.
    """
    last = now().date() if until is None else until.date()
    first = last - timedelta(days=DEFAULT_DAYS - 1) if since is None else since.date()
    if first > last:
        raise CliError(ExitCode.USAGE, f"--since {first} lies after --until {last}: swap them.")
    names = _dimensions(by)
    with opened_database(load_settings(data_dir)) as db, db.read() as connection:
        rows = read_usage(connection, tenant_id=None, since=first, until=last, by=names, livemode=not test)
    described = [usage_row(row, admin=True) for row in rows]
    if as_json:
        emit(
            {
                "since": first.isoformat(),
                "until": last.isoformat(),
                "by": list(names),
                "livemode": not test,
                "data": described,
            }
        )
        return
    columns = (*names, "videos>", "completed>", "failed>", "seconds>", "charge $>", "cost $>", "p50>", "p95>")
    console().print(
        table(
            f"{'Test mode' if test else 'Usage'}, {first} to {last}",
            columns,
            (_row(row, names) for row in described),
        )
    )
    if not described:
        typer.echo("nothing was made in these days")


def _dimensions(by: str) -> tuple[Dimension, ...]:
    asked = [name.strip() for name in by.split(",")]
    if not asked or not set(asked) <= set(DIMENSIONS) or len(set(asked)) != len(asked):
        known = ", ".join(DIMENSIONS)
        raise CliError(ExitCode.USAGE, f"--by {by!r} is not valid: name one or more of {known}, with commas.")
    return cast(tuple[Dimension, ...], tuple(asked))


def _row(row: dict[str, Any], names: tuple[Dimension, ...]) -> tuple[object, ...]:
    return (
        *(row[name] for name in names),
        row["videos"],
        row["completed"],
        row["failed"],
        row["seconds"],
        row["charge_usd"],
        row["cost_usd"],
        milliseconds(row["latency_p50_ms"]),
        milliseconds(row["latency_p95_ms"]),
    )
