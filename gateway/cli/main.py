"""The entry point of ``reelgate``."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli._group import Commands

app = typer.Typer(
    name="reelgate",
    cls=Commands,
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    epilog="Plugins add commands of their own: `reelgate plugins` lists them. "
    "Each command explains itself with --help.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # 30 ms that --help does not need

        typer.echo(version("reelgate"))
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A self-hosted gateway to every video-generation model: routed, generated, recorded."""


def run() -> None:
    """Run the command line."""
    app(prog_name="reelgate")


if __name__ == "__main__":
    run()
