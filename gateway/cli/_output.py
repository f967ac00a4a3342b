"""What commands print: JSON or tables on stdout, progress and errors on stderr; no colour in a pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import typer
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 140
"""Columns where nobody's terminal says: wide enough for a reason to stay on one or two lines."""


def emit(value: Any) -> None:
    """Print a JSON value."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is: what providers and users wrote is not markup."""
    screen = Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = PIPED_WIDTH
    return screen


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of text; a column whose name ends in ``>`` is set flush right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        flush: Literal["left", "right"] = "right" if column.endswith(">") else "left"
        made.add_column(column.removesuffix(">"), justify=flush, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def milliseconds(value: int | None) -> str:
    """``1234`` as ``1.23 s``, ``56`` as ``56 ms``; nothing for None."""
    if value is None:
        return ""
    return f"{value} ms" if value < 1000 else f"{value / 1000:.2f} s"
