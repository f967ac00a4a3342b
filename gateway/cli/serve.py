"""``reelgate serve``: one process with the API and the watcher, and one per device slot."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import typer
import uvicorn
from typing_extensions import override

from gateway.api.app import create_app
from gateway.cli._end import End
from gateway.cli._open import default_tenant
from gateway.cli._options import AsJson, DataDir
from gateway.cli.exits import CliError, ExitCode
from gateway.db.keys import NewKey, create_key
from gateway.db.tables import api_keys, attempts
from gateway.jobs.duties import Duties
from gateway.jobs.runtime import Runtime
from gateway.observe.logs import configure_logging
from gateway.observe.traces import configure_traces
from gateway.registry import SANDBOX
from gateway.sandbox.inside import serve_inside
from gateway.settings import Settings, load_settings

GRACE_S = 5
"""How long open requests may take to finish when the server is told to stop."""


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.  [default: 8700]")
    ] = None,
    isolation: Annotated[
        Literal["process", "none"] | None,
        typer.Option(help="A process per device slot, or none of its own.  [default: process]"),
    ] = None,
    role: Annotated[
        Literal["all", "api"],
        typer.Option(help="api: only answer and enqueue; `reelgate worker` does the rest."),
    ] = "all",
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Run fake providers, and send every remote offer there.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the gateway: the API, the watcher and the device slots.

    The first start on a fresh data folder makes an admin key and prints it, once. The log goes to stderr.
    SIGTERM lets what runs end, within the setting drain_s; Ctrl-C stops at once. Either way what is not
    finished goes on elsewhere, or at the next start.
    """
    configure_logging()
    configure_traces()
    settings = _settings(data_dir, host=host, port=port, isolation=isolation)
    with _listen(settings) as listening:
        if sandbox:
            with serve_inside(settings) as inside:
                _serve(_in_sandbox(settings, inside.url, _url(listening)), listening, role, as_json)
        else:
            _serve(settings, listening, role, as_json)
    typer.echo("stopped", err=True)


def _serve(settings: Settings, listening: socket.socket, role: Literal["all", "api"], as_json: bool) -> None:
    runtime = Runtime.open(settings)
    end = End()
    try:
        _refuse_unfinished(runtime)
        key = _first_key(runtime)
        runtime.start(Duties() if role == "api" else None)
        config = uvicorn.Config(
            create_app(runtime),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        greeting = _greeting(settings, _url(listening), key)
        _Server(config, greeting, as_json, runtime, end).run(sockets=[listening])
    finally:
        end.close(runtime)


def _settings(data_dir: Path | None, **given: Any) -> Settings:
    """The settings with what the command line says, which wins over file and environment."""
    named = {name: value for name, value in given.items() if value is not None}
    return load_settings(data_dir, **named)


def _in_sandbox(settings: Settings, sandbox_url: str, url: str) -> Settings:
    """The settings of a gateway whose providers are all in the sandbox, which can call back."""
    own = {"sandbox_url": sandbox_url, "sandbox_only": True}
    return settings.model_copy(update={**own, "public_url": settings.public_url or url})


def _refuse_unfinished(runtime: Runtime) -> None:
    """A gateway whose providers are all in the sandbox can neither watch nor settle jobs at real ones.

    Raises:
        CliError: there are such jobs.
    """
    if not runtime.settings.sandbox_only:
        return
    real = sa.select(sa.func.count()).where(
        attempts.c.kind == "remote", attempts.c.account != SANDBOX, attempts.c.settled_at.is_(None)
    )
    with runtime.db.read() as connection:
        count = connection.execute(real).scalar_one()
    if count:
        raise CliError(
            ExitCode.CONFIG,
            f"This data folder has {count} unfinished jobs of real providers: let them finish with a plain "
            "`reelgate serve`, or give --sandbox another --data-dir.",
        )


class _Server(uvicorn.Server):
    """Greets once it accepts connections; told to end, says so on /readyz and to open event streams first."""

    def __init__(
        self, config: uvicorn.Config, greeting: dict[str, Any], as_json: bool, runtime: Runtime, end: End
    ) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._end = end
        self._greeting = greeting
        self._as_json = as_json
        self._close_at = 0.0

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._as_json:
            typer.echo(json.dumps(self._greeting))  # on one line, for who starts it and reads on
        else:
            typer.echo(_told(self._greeting))

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        with self._end.on_signal(lambda: setattr(self, "should_exit", True)):
            yield

    @override
    async def on_tick(self, counter: int) -> bool:
        """True once the server is to close: after the notice that it will."""
        if not await super().on_tick(counter):
            return False
        if not self._runtime.draining.is_set():
            self._runtime.draining.set()
            self._close_at = time.monotonic() + self._runtime.settings.drain_notice_s
        return self._end.at_once or time.monotonic() >= self._close_at


def _listen(settings: Settings) -> socket.socket:
    """Bind before anything is started, so that a taken port costs nothing, and port 0 has a number."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's delay off only on sockets that name their protocol: 40 ms a reply otherwise
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise CliError(
            ExitCode.CONFIG,
            f"Cannot listen on {settings.host} port {settings.port} ({error.strerror}): give another --port "
            "(0 takes a free one) or --host.",
        ) from error
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _first_key(runtime: Runtime) -> NewKey | None:
    """An admin key if the database has no key at all yet."""
    try:
        with runtime.db.write() as connection:
            if connection.execute(sa.select(api_keys.c.id).limit(1)).first() is not None:
                return None
            tenant_id = default_tenant(connection, runtime.settings)
            return create_key(connection, runtime.pepper, tenant_id, name="first start", admin=True)
    except sa.exc.IntegrityError:  # another server, started at the same moment, makes it
        return None


def _greeting(settings: Settings, url: str, key: NewKey | None) -> dict[str, Any]:
    return {
        "url": url,
        "data_dir": str(settings.data_dir),
        "sandbox_url": settings.sandbox_url or None,
        "key": None if key is None else key.secret,
    }


def _told(greeting: dict[str, Any]) -> str:
    lines = [f"Reelgate answers at {greeting['url']}", f"data in  {greeting['data_dir']}"]
    if greeting["sandbox_url"]:
        lines.append(f"sandbox  {greeting['sandbox_url']}")
    lines.append("")
    if greeting["key"] is None:
        return "\n".join(
            [*lines, f"Keys: `reelgate keys create --data-dir {greeting['data_dir']}` makes one."]
        )
    return "\n".join(
        [
            *lines,
            "Your admin key, shown this once:",
            "",
            f"  {greeting['key']}",
            "",
            "Try it:",
            "",
            f"  curl {greeting['url']}/v1/videos -H 'Authorization: Bearer {greeting['key']}' \\",
            "    -F prompt='a red circle moving right on a black background' -F mode=preview",
            "",
        ]
    )
