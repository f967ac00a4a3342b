"""What can go wrong in the engine, named for what the caller can do about it.

WanError
├── FolderError      fix or download the model folder again
├── UnsupportedJob   change the job; the message names the nearest values that fit
├── OutOfMemory      ask for fewer pixels or frames, or use a larger device
└── Cancelled        nothing: the caller asked for it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
