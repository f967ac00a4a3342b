"""``reelgate reconcile``: what became of the jobs that a provider may or may not have taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.api.reconcile import Action, describe_unknown, settle_word
from gateway.cli._open import found_runtime
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import emit

app = typer.Typer(no_args_is_help=True, help="List the attempts of unknown outcome, and settle one.")

Attempt = Annotated[str, typer.Argument(help="Its id, as `reelgate reconcile list` shows it.")]


@app.command("list")
def list_unknown(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the attempts that a provider may or may not have taken."""
    with found_runtime(data_dir) as runtime:
        found = describe_unknown(runtime)
    if as_json:
        emit({"attempts": found})
        return
    for one in found:
        typer.echo(
            "{attempt_id}  {adapter} {account}, {offer}, at {submitted_at}\n"
            "  about ${estimate_usd}; the video {video_id} is {video_status}\n"
            "  {detail}\n".format(**one)
            + f"  to do: {', '.join(one['actions'])}"
        )
    if not found:
        typer.echo("no attempt is of unknown outcome")


@app.command()
def adopt(
    attempt: Attempt,
    upstream_id: Annotated[str, typer.Option(help="The provider's own id of the job.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The provider has the job: go on with it; or, if its video is over, record what it bills."""
    _settle(data_dir, attempt, "adopt", upstream_id, as_json)


@app.command()
def release(attempt: Attempt, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The provider has no such job: nothing is billed, and the next candidate is tried if there is time."""
    _settle(data_dir, attempt, "release", None, as_json)


@app.command()
def resubmit(attempt: Attempt, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """The provider has no such job: send it again. If it has one after all, you pay for two."""
    _settle(data_dir, attempt, "resubmit", None, as_json)


def _settle(
    data_dir: Path | None, attempt: str, action: Action, upstream_id: str | None, as_json: bool
) -> None:
    with found_runtime(data_dir) as runtime:
        settle_word(runtime, attempt, action, upstream_id, who="the command line")
    if as_json:
        emit({"attempt_id": attempt, "action": action})
    else:
        done = {"adopt": "is adopted", "release": "is released", "resubmit": "is sent again"}
        typer.echo(f"{attempt} {done[action]}")
