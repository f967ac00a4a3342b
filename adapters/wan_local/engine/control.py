"""How a caller watches a job, stops it, and keeps what it has done so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.wan_local.engine.checkpoint import Checkpoint
from adapters.wan_local.engine.errors import Cancelled
from adapters.wan_local.engine.official import Expert

Frame = NDArray[np.uint8]
"""[H, W, 3], RGB."""

Stage = Literal["text", "image", "high", "low", "decode"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A denoising step that is done; what it offers is worked out when it is called for, before the next.

    Attributes:
        done, total: steps of the whole job, those before a resumption included.
        expert: who took it.
        pictures: what the clip looks like so far, as far as a linear map tells: at most 8 frames over its
            length, uint8 [h, w, 3], one pixel to a latent one (an eighth of the size, or a sixteenth).
        checkpoint: the state from which ``WanEngine.run`` goes on.
    """

    done: int
    total: int
    expert: Expert
    pictures: Callable[[], list[Frame]]
    checkpoint: Callable[[], Checkpoint]


class Control(Protocol):
    """Given to ``WanEngine.run``; called on the thread that runs the job, which waits for it."""

    def cancelled(self) -> bool:
        """True to stop. Asked before each stage, each step and each decoded frame."""
        ...

    def progress(self, stage: Stage, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage`` are finished.

        The unit is a step for "high" and "low" (a model without a second expert reports every step as
        "high"), a frame for "decode", and the whole stage for "text" and "image".
        """
        ...

    def stepped(self, step: Step) -> None:
        """A step is done. Called after ``progress``, and before ``cancelled`` is asked again."""
        ...


class Unwatched:
    """The control of a caller that gave none: never cancels, hears nothing."""

    def cancelled(self) -> bool:
        return False

    def progress(self, stage: Stage, done: int, total: int) -> None:
        pass

    def stepped(self, step: Step) -> None:
        pass


def raise_if_cancelled(control: Control) -> None:
    """Raises: Cancelled."""
    if control.cancelled():
        raise Cancelled("the job was cancelled")
