"""``reelgate wan``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adapters.wan_local._weights import missing_extra
from adapters.wan_local.tiny import Variant, write_tiny

app = typer.Typer(no_args_is_help=True)


class VariantName(StrEnum):
    """The kinds of Wan 2.2 folder."""

    t2v = "t2v"
    i2v = "i2v"
    ti2v = "ti2v"


@app.callback()
def wan() -> None:
    """Folders of Wan 2.2 weights."""


@app.command()
def tiny(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    variant: Annotated[VariantName, typer.Option(help="What the model makes a video of.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Write a complete Wan 2.2 folder with random weights (half a megabyte), to try things out offline."""
    if missing_extra():
        _fail(f"{', '.join(missing_extra())} not installed: pip install 'reelgate[wan]'")
    from adapters.wan_local._engines import set_up_torch

    set_up_torch()
    kind: Variant = variant.value
    try:
        write_tiny(folder, kind, seed)
    except OSError as error:
        _fail(f"nothing was written: {error}")
    if as_json:
        typer.echo(json.dumps({"folder": str(folder.absolute()), "variant": kind, "seed": seed}))
    else:
        typer.echo(f"wrote a random-weight {kind} folder: {folder}")


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
