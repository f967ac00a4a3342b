"""How far a drawing has come: what a render keeps, so that a later run of it can go on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import ValidationError

from adapters.echo._drawing import Drawing
from gateway.spec import Value

_DIGEST = hashlib.sha256().digest_size


class State(Value):
    """``frames`` of the drawing are done, and took ``device_ms``; drawn again they take next to none."""

    drawing: Drawing
    frames: int = 0
    device_ms: int = 0


def pack(state: State) -> bytes:
    """The state under its digest."""
    body = state.model_dump_json().encode()
    return hashlib.sha256(body).digest() + body


def newest(kept: Iterable[bytes], drawing: Drawing) -> State:
    """The first that is whole and of this drawing, else its beginning."""
    states = (_unpack(data) for data in kept)
    return next((state for state in states if state and state.drawing == drawing), State(drawing=drawing))


def _unpack(data: bytes) -> State | None:
    digest, body = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        return State.model_validate_json(body)
    except ValidationError:  # another release's
        return None
