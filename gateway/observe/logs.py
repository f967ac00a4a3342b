"""The log: one event a line on stderr, JSON unless a person is looking, and nothing that must stay secret.

What is logged is the text of a message, an exception, and the fields of ``FIELDS``; any other field is
dropped. What then looks like a secret in the text is replaced by ``[redacted]``. The patterns err on the safe
side, and are the second line: code that logs a secret is wrong all the same.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

FIELDS = (
    "timestamp",
    "level",
    "logger",
    "event",
    "request_id",
    "video_id",
    "attempt_id",
    "tenant_id",
    "adapter",
    "model",
    "queue",
    "pool",
    "executor_id",
    "pid",
    "status",
    "duration_ms",
    "exception",
)
"""What a line may hold, in this order."""

OURS = ("gateway", "adapters", "routing_policies", "reelgate")
"""Loggers that speak from the configured level up; a library only from warnings."""

WITH_OWN_HANDLER = ("dbos",)
"""Libraries that print on their own unless their logger has a handler already."""

HIDDEN = "[redacted]"

_NAMES = r"(?:api[_-]?key|access[_-]?key|token|pepper|signature|sig|credential|cookie)s?"
_CLOSELY = r"(?:password|passwd|pwd|secret|authorization)s?"
_IS = r"""[\w.-]*(?:["']?\s*[=:]\s*(?:b(?=["']))?["']?|["']\s*,\s*b?["'])"""

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # the values that go with a statement: prompts, the digests of keys
        (r"\[parameters: .*\]", f"[parameters: {HIDDEN}]"),
        (r"(Failing row contains )\(.*\)", rf"\1({HIDDEN})"),
        # user and password of a URL; a password may hold nearly anything, so up to the last @
        (r"([a-z][a-z0-9+.-]*://)[^\s\"'/:@?#]*:[^\s\"'<>]*@", rf"\1{HIDDEN}@"),
        (r"([a-z][a-z0-9+.-]*://)[^\s\"'/:@?#]+@", rf"\1{HIDDEN}@"),
        (r"(/v1/files/)[^\s\"']+", rf"\1{HIDDEN}"),  # whoever has such a path has the file
        (r"(/hooks/[^/\s]+/)[^\s\"']+", rf"\1{HIDDEN}"),
        (r"\b(rg_(?:live|test)_)[\w-]+", rf"\1{HIDDEN}"),
        (r"\b(bearer\s+)[\w.~+/=-]{8,}", rf"\1{HIDDEN}"),
        (r"\b(basic\s+)[\w+/=-]{16,}", rf"\1{HIDDEN}"),
        (r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)*", HIDDEN),
        (r"\b(sk-)[\w-]{12,}", rf"\1{HIDDEN}"),
        (rf"({_CLOSELY}{_IS})(?:(?:basic|bearer|digest|token)\s+)?[^\s\"'&,;)}}]+", rf"\1{HIDDEN}"),
        (rf"({_NAMES}{_IS})[^\s\"'&,;)}}\]]{{8,}}", rf"\1{HIDDEN}"),
        # a bare key= may name a file of the store, which an operator has to find
        (rf"(\bkey{_IS})(?!videos/|inputs/)[\w+/=.~-]{{16,}}", rf"\1{HIDDEN}"),
    )
)


def configure_logging(level: str = "INFO") -> None:
    """Send this process's log to stderr; libraries only from warnings up.

    Standard loggers are used as ever; :func:`log_context` and ``extra=`` add fields.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(colours=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in OURS:
        logging.getLogger(ours).setLevel(level)
    for theirs in WITH_OWN_HANDLER:
        logger = logging.getLogger(theirs)
        logger.handlers[:] = [handler]
        logger.propagate = False
    threading.excepthook = _thread_died
    sys.excepthook = _process_died


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add fields (of ``FIELDS``) to every line logged inside, also by what it awaits or hands to a thread."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def redact(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _formatter(*, colours: bool) -> structlog.stdlib.ProcessorFormatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if colours:
        shown: Processor = structlog.dev.ConsoleRenderer(colors=True)
    else:
        shown = structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,  # to text without local variables, before it is redacted
            _only_allowed,
            _without_secrets,
            shown,
        ],
    )


def _only_allowed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["pid"] = os.getpid()
    return {name: event[name] for name in FIELDS if event.get(name) is not None}


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {
        name: value if isinstance(value, bool | int | float) else redact(str(value))
        for name, value in event.items()
    }


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is not SystemExit:
        name = died.thread.name if died.thread else "unknown"
        _log_death(f"thread {name} died", died.exc_value)


def _process_died(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log_death(f"the process ends on {kind.__name__}", error)


def _log_death(what: str, error: BaseException | None) -> None:
    logging.getLogger("gateway").critical("%s", what, exc_info=error)
