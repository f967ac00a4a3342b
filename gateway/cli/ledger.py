"""``reelgate ledger``: the money's own checks."""

from __future__ import annotations

import sqlalchemy as sa
import typer

from gateway.cli._open import opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import emit
from gateway.cli.exits import ExitCode
from gateway.db.tables import videos
from gateway.ledger.verify import verify_ledger
from gateway.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Verify that the ledger balances.")


@app.callback()
def group() -> None:
    """Verify that the ledger balances."""


@app.command()
def verify(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check the entries of every video, and print each rule that is broken; exit code 1 if any is."""
    with opened_database(load_settings(data_dir)) as db, db.read() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(videos)).scalar_one()
        problems = verify_ledger(connection)
    if as_json:
        emit({"videos": count, "problems": problems})
    else:
        for problem in problems:
            typer.echo(problem)
        typer.echo(f"{count} videos: " + (f"{len(problems)} problems" if problems else "all balance"))
    if problems:
        raise typer.Exit(ExitCode.FAILED)
