"""What can go wrong in the engine, named for what the caller can do about it.

WanError
├── FolderError          fix or download the model folder again
├── UnsupportedJob       change the job; the message names the nearest values that fit
├── OutOfMemory          ask for fewer pixels or frames, or use a larger device
├── Cancelled            nothing: the caller asked for it
├── CheckpointDamaged    use the one before, or start from the beginning
└── CheckpointMismatch   resume it with what it was made with, or start from the beginning
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames

import torch


class WanError(Exception):
    """Base of everything the engine raises on purpose."""


class FolderError(WanError):
    """The model folder is missing, incomplete, damaged, unsafe or of another model.

    Names the file and the remedy.
    """


class UnsupportedJob(WanError):
    """The loaded model cannot do this job. Raised before any work, so nothing was spent."""


class OutOfMemory(WanError):
    """The device or the host ran out of memory. The engine stays usable for smaller jobs."""


class Cancelled(WanError):
    """``Control.cancelled()`` said so. The engine stays usable."""


class CheckpointDamaged(WanError):
    """A checkpoint's bytes are not those that were written."""


class CheckpointMismatch(WanError):
    """A checkpoint is of another model, job, schedule or version; the message names what differs."""


@contextmanager
def releasing() -> Iterator[None]:
    """Let go of what the frames of a failure hold: a kept exception would keep the job's tensors.

    Frames below the caller's are cleared once they have ended; the caller's own locals are its business.
    """
    try:
        yield
    except BaseException as error:
        reason: BaseException | None = error
        while reason is not None:
            clear_frames(reason.__traceback__)
            reason = reason.__cause__ or reason.__context__
        raise


@contextmanager
def naming_out_of_memory(stage: str) -> Iterator[None]:
    """Turn torch's and Python's several out-of-memory errors into ``OutOfMemory`` naming ``stage``."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(_message(stage)) from error
    except RuntimeError as error:
        # torch's CPU allocator has no exception class of its own.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise OutOfMemory(_message(stage)) from error


def _message(stage: str) -> str:
    return f"out of memory in stage {stage!r}: ask for a smaller size or fewer frames, or use a larger device"
