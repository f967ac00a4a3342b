"""A video being made, shown live: stage, percent, place in the queue, cost so far, time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gateway.cli._server import Server, Unreachable, Video

LOST_S = 60.0
"""How long a server may be gone, for a restart, before following ends."""


def follow(server: Server, video: Video, show: Callable[[Video], None]) -> Video:
    """Look at the video until it is finished, and show each state.

    Raises:
        Unreachable: no answer for a minute; the video goes on.
    """
    seen = time.monotonic()
    show(video)
    while video["status"] not in ("completed", "failed"):
        server.wait(server.poll_after_ms / 1000)
        try:
            video = server.video(video["id"])
        except Unreachable:
            if time.monotonic() - seen > LOST_S:
                raise
            continue
        seen = time.monotonic()
        show(video)
    return video


class Display(Protocol):
    """Shows the states of one video."""

    def show(self, video: Video) -> None:
        """Show this state."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(screen: Console) -> Display:
    """A live line on a terminal; elsewhere one line per change."""
    return _Live(screen) if screen.is_terminal else _Lines(screen)


class _Live:
    def __init__(self, screen: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=screen,
            transient=True,
        )
        self._task = self._progress.add_task("", total=100, detail="")

    def show(self, video: Video) -> None:
        self._progress.update(
            self._task,
            description=stage(video),
            completed=video["progress"],
            detail=" · ".join(details(video)),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._shown = ""

    def show(self, video: Video) -> None:
        if stage(video) != self._shown:
            self._shown = stage(video)
            line = " · ".join([video["id"], self._shown, *details(video)])
            self._screen.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


def stage(video: Video) -> str:
    """What is being done now, in words."""
    if video["status"] == "in_progress":
        attempts = video["gateway"]["attempts"]
        return str((attempts[-1]["stage"] if attempts else None) or "in progress")
    return str(video["status"])


def details(video: Video) -> list[str]:
    """Model, place in the queue, cost so far and time left, as far as they are known."""
    about = video["gateway"]
    told = [f"{video['model']} by {about['adapter']}"]
    if about["queue_place"]:
        told.append(f"{about['queue_place']} before it")
    if about["charge_usd"] is not None:
        told.append(f"${about['charge_usd']}")
    else:
        told.append(f"about ${about['estimate_usd']}")
    left = _left_s(video)
    if left is not None:
        told.append(f"{left:.0f} s left")
    return told


def _left_s(video: Video) -> float | None:
    """Seconds to go: from the progress since the work began, else from the estimate at accept."""
    if video["status"] in ("completed", "failed"):
        return None
    waited_ms: int | None = video["gateway"]["latency"]["queued_ms"]
    elapsed: float = time.time() - video["created_at"] - (waited_ms or 0) / 1000
    progress: int = video["progress"]
    eta: int | None = video["gateway"]["eta_ms"]
    if progress > 0:
        return max(0.0, elapsed * (100 - progress) / progress)
    left = 0.0 if eta is None else eta / 1000 - elapsed
    return left if left > 0 else None
