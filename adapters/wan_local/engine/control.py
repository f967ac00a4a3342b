"""How a caller watches a job and stops it."""

from __future__ import annotations

from typing import Literal, Protocol

from adapters.wan_local.engine.errors import Cancelled

Stage = Literal["text", "image", "high", "low", "decode"]


class Control(Protocol):
    """Given to ``WanEngine.run``; called on the thread that runs the job, so both methods must be quick."""

    def cancelled(self) -> bool:
        """True to stop. Asked before each stage, before each step and before each chunk of decoded frames."""
        ...

    def progress(self, stage: Stage, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage`` are finished.

        The unit is a step for "high" and "low" (a model without a second expert reports every step as
        "high"), a frame for "decode", and the whole stage for "text" and "image".
        """
        ...


class Unwatched:
    """The control of a caller that gave none: never cancels, hears nothing."""

    def cancelled(self) -> bool:
        return False

    def progress(self, stage: Stage, done: int, total: int) -> None:
        pass


def raise_if_cancelled(control: Control) -> None:
    """Raises: Cancelled."""
    if control.cancelled():
        raise Cancelled("the job was cancelled")
