"""What the commands of ``reelgate wan`` share: how they begin, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from adapters.wan_local._weights import missing_extra

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def set_up() -> None:
    """Import torch, or end with what is missing."""
    if missing_extra():
        fail(f"{', '.join(missing_extra())} not installed: pip install 'reelgate[wan]'")
    from adapters.wan_local._engines import set_up_torch

    set_up_torch()


@contextmanager
def failing() -> Iterator[None]:
    """End with what is wrong with a folder, a job or a disk, as a sentence."""
    from adapters.wan_local.engine import WanError

    try:
        yield
    except (WanError, OSError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End with this message."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
