"""What pydantic found wrong with a request, in words for the one who sent it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from gateway.spec import VideoRequest

IMAGE_FIELDS = ("input_reference", "last_frame", "images")
OUR_OWN = "continues"
"""The field of a request that the gateway alone writes."""

FIELDS = tuple(name for name in VideoRequest.model_fields if name not in ("images", OUR_OWN)) + IMAGE_FIELDS
"""Every field a create may carry."""

_HINTS = {
    "size": 'send WIDTHxHEIGHT in pixels, for example "832x480"',
    "aspect_ratio": 'send WIDTH:HEIGHT, for example "16:9"',
    "tier": "send the name of a tier, for example basic",
}
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: ``param`` names the field as the caller wrote it."""

    code: str
    param: str
    message: str


def problem_of(error: Mapping[str, Any] | ErrorDetails, *, where: bool = False) -> Problem:
    """Say what one of pydantic's errors means; ``where``: its location starts with query, path or header."""
    loc = tuple(error["loc"])[1:] if where else tuple(error["loc"])
    param, kind = _param(loc) or "body", error["type"]
    if kind == "json_invalid":
        reason = error["ctx"]["error"]
        return Problem(code="invalid_json", param="body", message=f"The body is not valid JSON ({reason}).")
    if kind == "missing":
        return Problem(code="missing_required_parameter", param=param, message=f"'{param}' is required.")
    if kind == "extra_forbidden":
        return _unknown(param)
    code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
    hint = _HINTS.get(param) or allowed_range(param) or _sentence(str(error["msg"]))
    return Problem(code=code, param=param, message=f"'{param}' is not valid: {hint}.")


def allowed_range(field: str) -> str:
    """The numbers a field of the request takes, in words; '' where it has no bounds."""
    info = VideoRequest.model_fields.get(field)
    bounds = [
        f"{words} {getattr(item, name)}"
        for item in (info.metadata if info else ())
        for name, words in _BOUNDS.items()
        if hasattr(item, name)
    ]
    return f"it must be a number of {' and '.join(bounds)}" if bounds else ""


def _unknown(param: str) -> Problem:
    near = get_close_matches(param, FIELDS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "remove it, or put an adapter's own under 'options'."
    return Problem(code="unknown_parameter", param=param, message=f"Unknown parameter '{param}': {hint}")


def _param(loc: tuple[int | str, ...]) -> str:
    """``("images", 0, "role")`` as ``images[0].role``."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]":
            path += f".{step}" if path else step
    return path


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].lower() + text[1:]
