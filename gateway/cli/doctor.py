"""``reelgate doctor``: is this installation sound, and how is it mended?"""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli._checks import Finding, examine
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit
from gateway.cli.exits import ExitCode


def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check this installation, and say how to mend what is wrong.

    Exit code 1 if anything is. Nothing is made or changed.
    """
    findings = examine(data_dir)
    sound = all(finding.problem is None for finding in findings)
    if as_json:
        emit({"ok": sound, "checks": [_described(finding) for finding in findings]})
    else:
        screen = console()
        for finding in findings:
            good = finding.problem is None
            told = ": ".join(part for part in (finding.name, finding.problem or finding.detail) if part)
            screen.print(f"{'✓' if good else '✗'} {told}", style="" if good else "bold red")
    if not sound:
        raise typer.Exit(ExitCode.FAILED)


def _described(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "ok": finding.problem is None,
        "problem": finding.problem,
        "detail": finding.detail or None,
    }
