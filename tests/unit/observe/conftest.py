"""Jobs on record, a log that is read back, and spans that stay in memory."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.db import Database
from gateway.observe import logs, traces

from ..ledger.conftest import Books  # noqa: TID252  # its words for books are wanted here too


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    with closing(Database(database_url)) as db:
        made = Books(db)
        made.tenant("acme")
        yield made


class Log:
    """What was written to stderr since logging was configured."""

    def __init__(self, screen: io.StringIO) -> None:
        self._screen = screen

    @property
    def text(self) -> str:
        return self._screen.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def start_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Log]]:
    """Configures logging on a stderr of the test's own; everything is put back at the end."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *logs.OURS)}
    for name in logs.WITH_OWN_HANDLER:
        library = logging.getLogger(name)
        monkeypatch.setattr(library, "handlers", [])
        monkeypatch.setattr(library, "propagate", library.propagate)
        monkeypatch.setattr(library, "filters", [])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def start(*, terminal: bool = False, level: str = "DEBUG") -> Log:
        screen = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", screen)
        logs.configure_logging(level)
        return Log(screen)

    yield start
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def log(start_log: Callable[..., Log]) -> Log:
    return start_log()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is traced while the test runs."""
    exporter = InMemorySpanExporter()
    traces.start_tracing(SimpleSpanProcessor(exporter))
    yield exporter
    traces.stop_tracing()
