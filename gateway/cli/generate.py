"""``reelgate generate``: a video from a running gateway, followed and saved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.prompt import Prompt

from gateway.cli._follow import display, follow
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit
from gateway.cli._request import Asked, takes_request
from gateway.cli._server import Server, Unreachable, Video, api_key
from gateway.cli.exits import CliError, ExitCode
from gateway.settings import load_settings


class _Detached(Exception):
    """The user left; the video goes on."""

    def __init__(self, video: Video) -> None:
        super().__init__(video["id"])
        self.video = video


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
    if output is not None and not output.absolute().parent.is_dir():
        raise CliError(ExitCode.USAGE, f"{output.parent} is not a folder: make it first.")
    screen = console(stderr=True)
    with Server(url or _local_url(data_dir), api_key()) as server:
        video = _created(server, asked, continues) if resume is None else server.video(resume)
        try:
            video = _followed(server, video, screen)
        except _Detached as left:
            _detach(left.video, as_json)
        _finish(server, video, output or Path(f"{video['id']}.mp4"), as_json)


def _created(server: Server, asked: Asked, continues: str | None) -> Video:
    try:
        if continues is not None:
            return server.continue_preview(continues, asked.body())
        return server.create(asked.body())
    except KeyboardInterrupt:
        typer.echo("stopped before the gateway answered; GET /v1/videos says whether it took it", err=True)
        raise


def _local_url(data_dir: Path | None) -> str:
    settings = load_settings(data_dir)
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104  # compared with, not bound
    return f"http://{host}:{settings.port}"


def _followed(server: Server, video: Video, screen: Console) -> Video:
    """Follow to the end. Ctrl-C asks once; the second one detaches.

    Raises:
        _Detached: the user left.
    """
    latest = [video]
    try:
        with display(screen) as shown:

            def show(state: Video) -> None:
                latest[0] = state
                shown.show(state)

            return follow(server, video, show)
    except KeyboardInterrupt:
        if _answer(screen) == "detach":
            raise _Detached(latest[0]) from None
    except Unreachable as error:
        raise CliError(error.code, f"{error.message} The video goes on: {_resume(video)}") from None
    try:
        with display(screen) as shown:
            return follow(server, server.cancel(video["id"]), shown.show)
    except KeyboardInterrupt:
        raise _Detached(latest[0]) from None


def _answer(screen: Console) -> str:
    """What to do on Ctrl-C: ask where there is somebody to ask, else detach."""
    if not (sys.stdin.isatty() and screen.is_terminal):
        return "detach"
    try:
        return Prompt.ask(
            "Leave the video to itself, or cancel it?",
            console=screen,
            choices=["detach", "cancel"],
            default="detach",
        )
    except (KeyboardInterrupt, EOFError):
        return "detach"


def _detach(video: Video, as_json: bool) -> None:
    typer.echo(f"{video['id']} goes on: {_resume(video)}", err=True)
    if as_json:
        emit(video)
    raise typer.Exit(ExitCode.INTERRUPTED)


def _resume(video: Video) -> str:
    return f"`reelgate generate --resume {video['id']}` follows it."


def _finish(server: Server, video: Video, output: Path, as_json: bool) -> None:
    failed = video["status"] == "failed"
    if not failed:
        try:
            server.save(video["id"], output)
        except Unreachable as error:
            raise CliError(error.code, f"{error.message} The video is made: {_resume(video)}") from None
    if as_json:
        emit(video)
    if failed:
        why = video["error"] or {"code": "failed", "message": ""}
        typer.echo(f"error: {video['id']} failed ({why['code']}): {why['message']}", err=True)
        raise typer.Exit(ExitCode.FAILED)
    if not as_json:
        total = video["gateway"]["latency"]["total_ms"]
        took = "" if total is None else f", {total / 1000:.1f} s"
        about = f"{video['model']}, {video['size']}, {video['seconds']} s of video"
        typer.echo(f"{output}: {about}, ${video['gateway']['charge_usd']}{took}")
        for note in video["gateway"]["notes"]:
            typer.echo(f"note: {note['detail']} ({note['code']})")
        if video["gateway"]["continuable"]:
            typer.echo(f"`reelgate generate --continue {video['id']}` makes the final video from it.")
