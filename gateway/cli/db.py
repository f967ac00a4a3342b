"""``reelgate db``: the schema of the database."""

from __future__ import annotations

import typer

from gateway.cli._open import found_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import emit
from gateway.cli.exits import ExitCode
from gateway.db import Database
from gateway.db.migrate import current_revision, head_revision
from gateway.db.migrate import upgrade as upgrade_schema
from gateway.jobs.engine import migrate_engine
from gateway.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Upgrade or check the database's schema.")


@app.command()
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the schema to this version's newest revision; a new database is made."""
    db = Database(load_settings(data_dir).database_url)
    try:
        before = current_revision(db)
        upgrade_schema(db)
        migrate_engine(db.url)
    finally:
        db.close()
    if as_json:
        emit({"before": before, "revision": head_revision()})
    elif before == head_revision():
        typer.echo(f"already at revision {before}")
    else:
        typer.echo(f"upgraded from revision {before or 'none'} to {head_revision()}")


@app.command()
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say whether the schema is this version's; exit code 3 if it is not."""
    with found_database(load_settings(data_dir)) as db:
        at = current_revision(db)
    sound = at == head_revision()
    if as_json:
        emit({"revision": at, "head": head_revision(), "up_to_date": sound})
    else:
        advice = "up to date" if sound else f"this version needs {head_revision()}: run `reelgate db upgrade`"
        typer.echo(f"revision {at or 'none'}: {advice}")
    if not sound:
        raise typer.Exit(ExitCode.CONFIG)
