"""``reelgate worker``: everything but the API, in as many processes and on as many machines as wanted."""

from __future__ import annotations

import json
import threading
from typing import Annotated

import typer

from gateway.cli._end import End
from gateway.cli._options import AsJson, DataDir
from gateway.cli.exits import CliError, ExitCode
from gateway.jobs.duties import Duties
from gateway.jobs.runtime import Runtime
from gateway.observe.logs import configure_logging
from gateway.observe.traces import configure_traces
from gateway.settings import load_settings


def command(
    queues: Annotated[
        list[str] | None,
        typer.Option(
            help="A pattern of account.<adapter>.<account>, settle and watch, or none; repeatable."
            "  [default: all]",
            show_default=False,
        ),
    ] = None,
    slots: Annotated[
        list[str] | None,
        typer.Option(
            help="A pool, <pool>/<number>, or none; repeatable.  [default: all]", show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Do the work of a gateway whose API runs elsewhere: submit, watch, settle and render.

    The log goes to stderr. SIGTERM lets what runs end, within the setting drain_s; Ctrl-C stops at once.
    Either way what is not finished is taken over by another worker, or goes on at the next start.
    """
    configure_logging()
    configure_traces()
    settings = load_settings(data_dir)
    runtime = Runtime.open(settings)
    end, told = End(), threading.Event()
    try:
        duties = Duties.chosen(settings, runtime.registry, queues or (), slots or ())
        if not duties.any:
            raise CliError(ExitCode.USAGE, "--queues none and --slots none leave nothing to do: name some.")
        with end.on_signal(told.set):
            runtime.start(duties, role="worker")
            _greet(duties, as_json)
            told.wait()
    finally:
        end.close(runtime)
    typer.echo("stopped", err=True)


def _greet(duties: Duties, as_json: bool) -> None:
    queues = [*duties.queues, *(["watch"] if duties.watch else [])]
    slots = [f"{device.pool}/{device.slot}" for device in duties.devices]
    if as_json:
        typer.echo(json.dumps({"queues": queues, "slots": slots}))  # on one line, for who starts it
    else:
        typer.echo(f"works on {', '.join(queues) or 'no queue'}; slots: {', '.join(slots) or 'none'}")
