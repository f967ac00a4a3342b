"""A sandbox that belongs to another process: its child, so that neither's load slows the other.

The child ends with its parent, however that ends. It gets no settings but a folder, and none of the
``REELGATE_`` variables, in which credentials may be.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.kit.sandbox import FakeProvider
from gateway.observe.logs import configure_logging
from gateway.registry import Registry, load_registry
from gateway.sandbox.app import Sandbox, folder_in
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Order, Orders
from gateway.sandbox.server import InThread, listen, url_of
from gateway.settings import PREFIX, Settings
from gateway.spec import PluginContext

_START_S = 60
_STOP_S = 10


def fakes_of(registry: Registry) -> list[FakeProvider]:
    """The fakes with a server that the plugins brought."""
    return [one for one in registry.sandbox.values() if isinstance(one, FakeProvider)]


class Inside:
    """A running child; ``close`` it. ``url`` is the sandbox's root."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = process

    def alive(self) -> bool:
        """False if it has ended by itself."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it; once is enough."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve_inside(
    settings: Settings, *, port: int = 0, speed: float = 10.0, seed: int = 0, faults: Sequence[str] = ()
) -> Inside:
    """Start a sandbox on the gateway's data folder, on this machine alone; it answers when this returns.

    ``faults`` are standing orders as ``--fault`` takes them; port 0 takes a free one.

    Raises:
        OSError: it did not start; its log, on stderr, says why.
    """
    task = {
        "data_dir": str(settings.data_dir),
        "enabled": settings.enabled_plugins,
        "port": port,
        "speed": speed,
        "seed": seed,
        "faults": list(faults),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.sandbox.inside"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        text=True,
        process_group=0,  # a terminal's Ctrl-C is for the parent
    )
    inside = Inside(process, "")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        inside.url = process.stdout.readline().strip() if ready else ""
    except BrokenPipeError:  # it ended before it had its task
        inside.url = ""
    if not inside.url:
        inside.close()
        raise OSError("The sandbox did not start; the log says why")
    return inside


def main() -> None:
    """The child: serve until stdin, which the parent holds, is at its end."""
    task = json.loads(sys.stdin.readline())
    configure_logging()
    data_dir = Path(task["data_dir"])
    context = PluginContext(settings={}, data_dir=data_dir)
    registry = load_registry(context, enabled=None if task["enabled"] is None else tuple(task["enabled"]))
    listening = listen("127.0.0.1", task["port"])
    sandbox = Sandbox(
        fakes_of(registry),
        folder_in(data_dir),
        url=url_of(listening),
        pace=Pace(speed=task["speed"]),
        orders=Orders(task["seed"], [Order.parse(text) for text in task["faults"]]),
    )
    with InThread(sandbox, listening):
        sys.stdout.write(f"{sandbox.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
    sandbox.close()


if __name__ == "__main__":
    main()
