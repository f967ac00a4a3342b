"""The error, reason and note codes that the code can give, read from its source.

Codes reach a caller from many small places, so they are collected by the shape of those places rather than
from a list that somebody would have to keep.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = re.compile(r"[a-z]+(_[a-z]+)*")

PLACES: Mapping[str, int] = {
    "ApiError": 1,
    "invalid": 2,
    "Excluded": 0,
    "BadImage": 0,
    "fail_video": 2,
    "_leave_out": 1,
}
"""Calls whose positional argument at this index is a code."""


def codes_in(*folders: str, calls: Sequence[str] = ()) -> set[str]:
    """Codes below these folders: those given to ``calls``; without any, every code."""
    found: set[str] = set()
    for folder in folders:
        place = ROOT / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            found |= set(_codes(ast.parse(path.read_text(encoding="utf-8")), calls))
    return found


def _codes(tree: ast.Module, calls: Sequence[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (not calls or _name(node) in calls):
            yield from _of_call(node)
        elif not calls:
            yield from _of_assignment(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg == "code":
            yield from _texts(keyword.value)
    place = PLACES.get(_name(call))
    if place is not None and len(call.args) > place:
        yield from _texts(call.args[place])


def _of_assignment(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Name(id="code" | "codes")], value=value):
            yield from _texts(value)
        case ast.AnnAssign(target=ast.Name(id="code"), value=ast.expr() as value):
            yield from _texts(value)
        case ast.FunctionDef(name="_reason"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                    yield from _texts(inner.value.elts[0])


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _texts(value: ast.expr) -> Iterator[str]:
    """Every text of the expression that could be a code, in both arms of a condition."""
    if isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
    elif isinstance(value, ast.Dict):
        for one in value.values:
            yield from _texts(one)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and CODE.fullmatch(value.value):
        yield value.value
