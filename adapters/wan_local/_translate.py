"""The engine's errors in the gateway's words: one text for the caller, one with paths for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.wan_local import engine
from gateway.spec import BadRequest, BrokenModel, Cancelled, OutOfMemory


@contextmanager
def in_the_gateways_words(model: str) -> Iterator[None]:
    """Turn what the engine raises on purpose into the contract's errors."""
    try:
        yield
    except engine.FolderError as error:
        raise BrokenModel(
            f"The weights of {model} on this gateway cannot be loaded: tell its operator.",
            operator_detail=str(error),
        ) from error
    except engine.OutOfMemory as error:
        raise OutOfMemory(
            f"{model} ran out of memory on this gateway's device: ask for a smaller size or fewer seconds.",
            operator_detail=str(error),
        ) from error
    except engine.UnsupportedJob as error:
        raise BadRequest(f"{model} cannot make this clip: {error}.") from error
    except engine.Cancelled as error:
        raise Cancelled("The render was stopped on request.") from error
