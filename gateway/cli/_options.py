"""The options that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import JSON_MODE


def _remember(ctx: typer.Context, as_json: bool) -> bool:
    ctx.meta[JSON_MODE] = as_json
    return as_json


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        file_okay=False,
        help="Database, store and config.yaml.  [default: $REELGATE_DATA_DIR, else ~/.reelgate]",
    ),
]

AsJson = Annotated[
    bool, typer.Option("--json", callback=_remember, help="Print JSON for programs, and nothing else.")
]
