"""Exit codes, the same for every command.

==== ============ =====================================================================================
code name         meaning
==== ============ =====================================================================================
0    OK           done
1    FAILED       it ran and did not succeed: a failed video, a red check, a ledger that does not balance
2    USAGE        the command line is wrong, or a field of the request is
3    CONFIG       the settings, the data folder or the database cannot be used
4    NOT_FOUND    no such video, model, tenant or key; or no server answers
5    REFUSED      sound, and refused: nothing can serve it, over budget, a screened prompt
6    DENIED       the API key is missing, wrong or not allowed to do this
7    SERVER       the server has trouble of its own or is busy: try again
130  INTERRUPTED  stopped by Ctrl-C; a video that was accepted goes on
==== ============ =====================================================================================

A traceback, with exit code 1, is a fault of the gateway's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

JSON_MODE = "reelgate.json"
"""The context's key under which ``--json`` is remembered, for errors to follow it."""


class ExitCode(IntEnum):
    """What a command ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    NOT_FOUND = 4
    REFUSED = 5
    DENIED = 6
    SERVER = 7
    INTERRUPTED = 130


class CliError(Exception):
    """Ends the command: ``message`` says what is wrong and what to do, ``body`` is what ``--json`` prints."""

    def __init__(self, code: ExitCode, message: str, *, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.body = body or {"error": {"code": code.name.lower(), "message": message}}
