"""A server of the demo's own: started as a user would start it, and stopped whatever happens."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gateway.cli.exits import CliError, ExitCode

START_S = 60
STOP_S = 30
TAIL_LINES = 15


@contextmanager
def demo_server(data_dir: Path, log: Path) -> Iterator[dict[str, Any]]:
    """Run ``reelgate serve --sandbox`` on a free port; yields what it says of itself once it answers.

    Raises:
        CliError: it did not start; ``log`` says why.
    """
    serve = ["serve", "--json", "--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", "0"]
    serve.append("--sandbox")
    command = [sys.executable, "-m", "gateway.cli.main", *serve]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603  # our own
    ):
        assert process.stdout is not None
        try:
            yield _greeting(process.stdout)
        finally:
            _stop(process)


def log_tail(log: Path) -> str:
    """The end of the server's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def _greeting(stdout: IO[bytes]) -> dict[str, Any]:
    """The one line that the server prints when it answers."""
    ready, _, _ = select.select([stdout], [], [], START_S)
    line = stdout.readline() if ready else b""
    if not line:
        why = "ended" if ready else f"said nothing for {START_S} s"
        raise CliError(ExitCode.FAILED, f"The server {why} before it answered.")
    greeting: dict[str, Any] = json.loads(line)
    return greeting


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
