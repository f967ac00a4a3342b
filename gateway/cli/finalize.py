"""``reelgate finalize``: the final video of an approved preview."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gateway.cli._deliver import checked_output, deliver, local_url
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit
from gateway.cli._plan import show_plan
from gateway.cli._server import Server, api_key
from gateway.cli.exits import ExitCode
from gateway.spec import Plan


def command(
    preview: Annotated[str, typer.Argument(help="The preview's id.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="A model or alias.  [default: the slot's choice]", show_default=False)
    ] = None,
    quality: Annotated[
        Literal["standard", "premium"] | None, typer.Option(help="[default: as the preview]")
    ] = None,
    audio: Annotated[
        Literal["no", "yes", "required"] | None, typer.Option(help="yes is a wish, required a condition.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Width by height in pixels.")] = None,
    resolution: Annotated[
        Literal["360p", "480p", "540p", "720p", "1080p", "4k"] | None, typer.Option(help="A named size.")
    ] = None,
    seconds: Annotated[str | None, typer.Option(help="Length, for example 4 or 2.5.")] = None,
    max_cost: Annotated[str | None, typer.Option(help="The most it may cost, in US dollars.")] = None,
    deadline: Annotated[int | None, typer.Option(help="Seconds after which it is given up.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would cost.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="Where to save it.  [default: <id>.mp4]"),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="REELGATE_URL", help="The gateway.  [default: where this data folder's listens]"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make the final video of an approved preview and save it.

    It keeps as much of the preview as both models allow, and says what. A preview has one final: asked for
    again, the same one is saved again.
    """
    wishes = {
        "model": model,
        "quality": quality,
        "audio": {"no": False, "yes": True}.get(audio or "", audio),
        "size": size,
        "resolution": resolution,
        "seconds": seconds,
        "max_cost": max_cost,
        "deadline": deadline,
    }
    body = {name: value for name, value in wishes.items() if value is not None}
    to = checked_output(output)
    with Server(url or local_url(data_dir), api_key()) as server:
        if dry_run:
            _show(server.plan_final(preview, body), as_json)
        else:
            final = server.finalize(preview, body)
            if server.replayed:
                typer.echo(f"its final was asked for before: {final['id']}; no other is made", err=True)
            deliver(server, final, to, as_json=as_json)


def _show(final: dict[str, Any], as_json: bool) -> None:
    plan = Plan.model_validate(final["plan"])
    if as_json:
        emit(final)
    else:
        show_plan(console(), plan)
        if plan.chosen is not None:
            difference = Decimal(final["difference_usd"])
            typer.echo(
                f"keeps {final['continuity']} of the preview; final ${final['estimate_usd']}, "
                f"preview ${final['preview_charge_usd']}: ${abs(difference):f} "
                f"{'less' if difference < 0 else 'more'}"
            )
    if plan.chosen is None:
        raise typer.Exit(ExitCode.REFUSED)
