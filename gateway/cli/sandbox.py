"""``reelgate sandbox``: fake providers for test mode, and the bill that they keep."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import uvicorn
from typing_extensions import override

from gateway.cli._end import End
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli.exits import CliError, ExitCode
from gateway.jobs.runtime import open_registry
from gateway.observe.logs import configure_logging
from gateway.sandbox.app import Sandbox, bill_body, bill_path, folder_in
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Order, Orders
from gateway.sandbox.inside import fakes_of
from gateway.sandbox.records import BillLine, read_bill
from gateway.sandbox.server import config, listen, url_of
from gateway.settings import load_settings

app = typer.Typer(
    invoke_without_command=True, help="Run fake providers for test mode, or show the bill that they kept."
)


@app.callback()
def serve(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8702,
    speed: Annotated[
        float, typer.Option(min=0.001, help="How many times faster than life jobs are queued and rendered.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the faults and of how long jobs take.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROVIDER:FAULT=PROBABILITY",
            help="A standing order; * for every provider. Repeatable.",
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run fake providers for test mode, or show the bill that they kept.

    Every plugin's provider is imitated under its own path of one server, until Ctrl-C or SIGTERM. Jobs and
    bill outlive it, in the data folder.
    """
    if ctx.invoked_subcommand is not None:
        return
    configure_logging()
    settings = load_settings(data_dir)
    orders = Orders(seed, [_order(text) for text in fault or ()])
    fakes = fakes_of(open_registry(settings))
    if not fakes:
        raise CliError(ExitCode.CONFIG, "No plugin brings a fake provider: `reelgate plugins` lists them.")
    try:
        listening = listen(host, port)
    except OSError as error:
        raise CliError(
            ExitCode.CONFIG,
            f"Cannot listen on {host} port {port} ({error.strerror}): give another --port "
            "(0 takes a free one) or --host.",
        ) from error
    with listening:
        try:
            sandbox = Sandbox(
                fakes,
                folder_in(settings.data_dir),
                url=url_of(listening),
                pace=Pace(speed=speed),
                orders=orders,
            )
        except ValueError as error:
            raise CliError(ExitCode.USAGE, f"--fault: {error}.") from error
        try:
            _Server(config(sandbox), sandbox, as_json).run(sockets=[listening])
        finally:
            sandbox.close()
    typer.echo("stopped", err=True)


@app.command()
def bill(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what each provider bills, by its own record; the sandbox need not run."""
    now = time.time()
    lines = read_bill(bill_path(folder_in(load_settings(data_dir).data_dir)))
    body = bill_body(lines, now)
    if as_json:
        emit(body)
        return
    columns = ("provider", "job", "account", "tag", "due (UTC)", "state", "price $>", "billed $>")
    screen = console()
    screen.print(table("Bill", columns, (_row(line, now) for line in lines)))
    for name, usd in body["billed_usd_by_provider"].items():
        screen.print(f"{name}: {usd}")
    screen.print(f"billed by now: {body['billed_usd']}")


class _Server(uvicorn.Server):
    """Greets once it accepts connections, and ends without a traceback."""

    def __init__(self, config: uvicorn.Config, sandbox: Sandbox, as_json: bool) -> None:
        super().__init__(config)
        self._sandbox = sandbox
        self._as_json = as_json

    @override
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        greeting = {"url": self._sandbox.url, "plugins": self._sandbox.settings()}
        typer.echo(json.dumps(greeting) if self._as_json else _told(self._sandbox))

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        with End().on_signal(lambda: setattr(self, "should_exit", True)):
            yield


def _order(text: str) -> Order:
    try:
        return Order.parse(text)
    except ValueError as error:
        raise CliError(ExitCode.USAGE, f"--fault: {error}.") from error


def _told(sandbox: Sandbox) -> str:
    width = max(map(len, sandbox.settings()), default=0)
    return "\n".join(
        [
            f"The sandbox answers at {sandbox.url}",
            "",
            *(
                f"  {name:{width}}  {sandbox.url}/{name}  {', '.join(_names(section))}"
                for name, section in sandbox.settings().items()
            ),
            "",
            f"Test keys: curl {sandbox.url}/sandbox/settings",
            "Point a gateway at it:",
            "",
            f"  REELGATE_SANDBOX_URL={sandbox.url}",
            "",
        ]
    )


def _names(section: Mapping[str, Any], prefix: str = "") -> Sequence[str]:
    """The dotted names of a section's settings, but for addresses."""
    names: list[str] = []
    for name, value in section.items():
        if isinstance(value, Mapping):
            names += _names(value, f"{prefix}{name}.")
        elif not name.endswith("url"):
            names.append(prefix + name)
    return names


def _row(line: BillLine, now: float) -> Sequence[object]:
    due = datetime.fromtimestamp(line.due_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    ends: str = "cancelled" if line.cancelled_at is not None else line.fate
    state = "not due" if line.due_at > now and ends != "cancelled" else ends
    return (line.provider, line.job_id, line.account, line.tag, due, state, line.usd, line.billed(now))
