"""A body as it arrives, multipart, urlencoded or JSON, into one shape: JSON values by name, and files.

A form carries only text, and clients write nested values as ``options[echo][latency_ms]`` or
``images[][role]``, or as JSON; here that text becomes what the same request would hold as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from gateway.api.errors import ApiError, invalid

FILE_FIELDS = ("input_reference", "last_frame")
_JSON_FIELDS = {"options", "images", "input_reference", "last_frame"}
_INTEGER_FIELDS = {"fps", "seed", "deadline", "n"}
_INTEGER = re.compile(r"-?\d{1,18}")
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP = re.compile(r"\[([^\[\]]*)\]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_MAX_DEPTH = 16
_MAX_PARTS = 200


@dataclass(frozen=True, kw_only=True)
class Form:
    """``fields`` hold JSON values (never null), ``files`` the bytes of the file parts, by field."""

    fields: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


async def read_form(request: Request, *, max_image_bytes: int, max_body_bytes: int) -> Form:
    """Read the request's body.

    Raises:
        ApiError: 400 a malformed body or part, 413 too large, 415 another content type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return Form(fields=_without_nulls(_json(await request.body(), None)))
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        return await _read_parts(request, max_image_bytes, max_body_bytes)
    raise ApiError(
        415,
        "unsupported_content_type",
        "Send the request as multipart/form-data or as application/json, and say which in Content-Type.",
    )


async def _read_parts(request: Request, max_image_bytes: int, max_body_bytes: int) -> Form:
    # A text part may be an image as a data URL, so that only the body's own cap bounds it.
    reading = request.form(max_files=8, max_fields=_MAX_PARTS, max_part_size=max_body_bytes)
    texts: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    async with reading as parts:
        for name, value in parts.multi_items():
            if isinstance(value, str):
                texts.append((name, value))
            elif name not in FILE_FIELDS:
                raise invalid(name, f"'{name}' came as a file: only {' and '.join(FILE_FIELDS)} may.")
            elif name in files:
                raise _repeated(name)
            else:
                files[name] = await _read_file(name, value, max_image_bytes)
    fields = _nest(texts)
    for both in fields.keys() & files.keys():
        raise invalid(both, f"'{both}' came both as a file and as text: send one of them.")
    return Form(fields=_without_nulls(fields), files=files)


async def _read_file(name: str, file: UploadFile, max_bytes: int) -> bytes:
    if (file.size or 0) > max_bytes:
        raise invalid(
            name,
            f"'{name}': the image is larger than {max_bytes / 2**20:g} MiB: send a smaller one.",
            "image_too_large",
        )
    return await file.read()


def _nest(texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Put ``a[b][c]`` where it belongs, and give each plain field its JSON type."""
    fields: dict[str, Any] = {}
    lists: dict[str, dict[str, list[str]]] = {}
    for name, text in texts:
        _refuse_unstorable(text, name)
        match = _NAME.fullmatch(name)
        steps = _STEP.findall(match[2]) if match else []
        if match is None or len(steps) > _MAX_DEPTH:
            raise invalid(name, f"'{name}' is not a field's name: write nested values as options[echo][x].")
        root = match[1]
        if not steps:
            if name in fields:
                raise _repeated(name)
            fields[name] = _typed(name, text)
        elif steps[0] == "":
            lists.setdefault(root, {}).setdefault("".join(f"[{step}]" for step in steps[1:]), []).append(text)
        else:
            _place(fields, [root, *steps], text, name)
    for root, columns in lists.items():
        if root in fields:
            raise _repeated(root)
        fields[root] = _rows(root, columns)
    return {name: _listed(value) if name == "images" else value for name, value in fields.items()}


def _place(fields: dict[str, Any], path: list[str], text: str, name: str) -> None:
    """Put one text at its place in nested mappings; a final ``[]`` appends to a list."""
    *above, last = path
    for step in above[:-1] if last == "" else above:
        fields = fields.setdefault(step, {})
        if not isinstance(fields, dict):
            raise _repeated(name)
    if last == "":
        items = fields.setdefault(above[-1], [])
        if not isinstance(items, list):
            raise _repeated(name)
        items.append(text)
    elif last in fields:
        raise _repeated(name)
    else:
        fields[last] = text


def _rows(root: str, columns: Mapping[str, list[str]]) -> list[Any]:
    """``images[][role]`` and ``images[][image_url]``, each repeated, as one mapping per item."""
    if set(columns) == {""}:
        return columns[""]
    if "" in columns or len({len(values) for values in columns.values()}) > 1:
        raise invalid(root, f"'{root}' is ambiguous: number its items ({root}[0][…]) or send it as JSON.")
    rows: list[dict[str, Any]] = [{} for _ in next(iter(columns.values()))]
    for steps, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            _place(row, _STEP.findall(steps), value, root + steps)
    return rows


def _listed(value: Any) -> Any:
    """``{"0": a, "1": b}``, as indexed names make it, as ``[a, b]``."""
    if isinstance(value, dict) and value.keys() == {str(index) for index in range(len(value))}:
        return [value[str(index)] for index in range(len(value))]
    return value


def _typed(name: str, text: str) -> Any:
    """The JSON value that a client meant by this text; what fits nothing stays text, to be refused."""
    if name in _INTEGER_FIELDS and _INTEGER.fullmatch(text):
        return int(text)
    if name == "audio" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if name in _JSON_FIELDS and text.lstrip()[:1] in ("{", "["):
        return _json(text.encode(), name)
    return text


def _json(body: bytes, param: str | None) -> Any:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        _refuse_unstorable(value, param)
    except RecursionError:
        raise invalid(param, "The JSON is nested too deeply: flatten it.", "invalid_json") from None
    except ValueError as error:
        message = f"The body is not valid JSON ({error})." if param is None else f"'{param}': {error}."
        raise invalid(param, message, "invalid_json") from None
    if param is None and not isinstance(value, dict):
        raise invalid(None, 'The body must be a JSON object, for example {"prompt": "…"}.', "invalid_json")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_unstorable(value: Any, param: str | None, depth: int = 0) -> None:
    """Refuse what SQL and JSON cannot hold (NUL, lone surrogates, infinities), and what is absurdly deep."""
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise invalid(param, "The text holds a NUL or half a surrogate pair: remove it.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise invalid(param, "A number is too large.")
    elif isinstance(value, dict | list):
        if depth > _MAX_DEPTH:
            raise invalid(param, f"The JSON is nested deeper than {_MAX_DEPTH} levels: flatten it.")
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_unstorable(name, param, depth)
            below = f"{param}.{name}" if param else str(name)
            _refuse_unstorable(inner, below if isinstance(value, dict) else param, depth + 1)


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _repeated(name: str) -> ApiError:
    return invalid(name, f"'{name}' was given more than once: send it once.")
