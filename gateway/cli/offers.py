"""``reelgate offers``: offers whose providers said at run time that the model is gone."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli._open import opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli.exits import CliError, ExitCode
from gateway.db.retired import read_retired, restore
from gateway.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="List the offers that were found to be gone, and restore one.")


@app.command("list")
def list_offers(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the offers that are passed over since a provider answered that the model is gone."""
    with opened_database(load_settings(data_dir)) as db, db.read() as connection:
        found = [
            {"offer": one.offer, "since": one.since.isoformat(timespec="seconds"), "said": one.said}
            for one in read_retired(connection).values()
        ]
    if as_json:
        emit({"offers": found})
        return
    rows = (tuple(one.values()) for one in found)
    console().print(table("Retired at run time", ("offer", "since", "said"), rows))


@app.command("restore")
def restore_offer(
    offer: Annotated[str, typer.Argument(help="Its id, as `reelgate offers list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Route to an offer again."""
    with opened_database(load_settings(data_dir)) as db, db.write() as connection:
        restored = restore(connection, offer)
    if not restored:
        raise CliError(
            ExitCode.NOT_FOUND, f"No offer {offer!r} is retired: `reelgate offers list` lists those that are."
        )
    if as_json:
        emit({"offer": offer, "restored": True})
    else:
        typer.echo(f"{offer} is routed to again")
