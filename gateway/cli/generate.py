"""``reelgate generate``: a video from a running gateway, followed and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli._deliver import checked_output, deliver, local_url
from gateway.cli._options import AsJson, DataDir
from gateway.cli._request import Asked, takes_request
from gateway.cli._server import Server, Video, api_key
from gateway.cli.exits import CliError, ExitCode


@takes_request
def command(
    asked: Asked,
    resume: Annotated[str | None, typer.Option(help="Follow this video instead of making one.")] = None,
    continues: Annotated[
        str | None, typer.Option("--continue", help="Make the final video of this prefix preview.")
    ] = None,
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
    """Make a video on a running gateway and save it.

    The key is read from REELGATE_API_KEY. Ctrl-C asks whether to leave the video to itself or to cancel it;
    without a terminal it leaves.
    """
    if sum(said is not None for said in (asked.prompt, resume, continues)) != 1:
        raise CliError(
            ExitCode.USAGE,
            "Say what the video is to show, or name one with --resume or --continue: one of the three.",
        )
    to = checked_output(output)
    with Server(url or local_url(data_dir), api_key()) as server:
        video = _created(server, asked, continues) if resume is None else server.video(resume)
        deliver(server, video, to, as_json=as_json)


def _created(server: Server, asked: Asked, continues: str | None) -> Video:
    try:
        if continues is not None:
            return server.continue_preview(continues, asked.body())
        return server.create(asked.body())
    except KeyboardInterrupt:
        typer.echo("stopped before the gateway answered; GET /v1/videos says whether it took it", err=True)
        raise
