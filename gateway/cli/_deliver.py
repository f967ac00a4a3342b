"""A video that was asked for: followed on the screen, saved, and summed up in a line."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.prompt import Prompt

from gateway.cli._follow import display, follow
from gateway.cli._output import console, emit
from gateway.cli._server import Server, Unreachable, Video
from gateway.cli.exits import CliError, ExitCode
from gateway.settings import load_settings


class _Detached(Exception):
    """The user left; the video goes on."""

    def __init__(self, video: Video) -> None:
        super().__init__(video["id"])
        self.video = video


def checked_output(output: Path | None) -> Path | None:
    """Where the clip is to be saved.

    Raises:
        CliError: its folder is missing.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise CliError(ExitCode.USAGE, f"{output.parent} is not a folder: make it first.")
    return output


def deliver(server: Server, video: Video, output: Path | None, *, as_json: bool) -> None:
    """Follow a video to its end and save it. Ctrl-C asks whether to leave it to itself or to cancel it.

    Raises:
        CliError: the gateway is gone.  typer.Exit: the video failed, or was left to itself.
    """
    try:
        video = _followed(server, video, console(stderr=True))
    except _Detached as left:
        _detach(left.video, as_json)
    _finish(server, video, output or Path(f"{video['id']}.mp4"), as_json)


def local_url(data_dir: Path | None) -> str:
    """Where this data folder's gateway listens."""
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
