"""How a process of the gateway ends: SIGTERM lets what runs finish, Ctrl-C does not wait."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from gateway.jobs.runtime import Runtime


class End:
    """What the process was told; ``at_once`` after a Ctrl-C, or a second signal of either kind."""

    def __init__(self) -> None:
        self.at_once = False
        self._told = False

    @contextmanager
    def on_signal(self, then: Callable[[], None]) -> Iterator[None]:
        """Until the end of the block, take SIGTERM and SIGINT as the wish to end, and do ``then``."""

        def told(number: int, _frame: FrameType | None) -> None:
            self.at_once = self.at_once or self._told or number == signal.SIGINT
            self._told = True
            then()

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self, runtime: Runtime) -> None:
        """Close the runtime, with as much patience as the process was told to have."""
        patience = runtime.settings.drain_s if self._told and not self.at_once else 0.0
        with self.on_signal(lambda: runtime.hurry() if self.at_once else None):
            runtime.close(finish_within_s=patience)
