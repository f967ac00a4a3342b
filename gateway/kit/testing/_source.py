"""What an adapter's source may not hold: waiting, looping and retrying are the core's, once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

_RETRY_PACKAGES = frozenset({"tenacity", "backoff", "retry", "retrying", "stamina"})
_WAITS = frozenset({"sleep", "wait", "wait_for"})
_FAKES = frozenset({"testing.py", "_sandbox.py"})  # a fake upstream is not the adapter


def waiting_in(folder: Path, simulated_work: frozenset[str]) -> list[str]:
    """Every wait, polling loop and retry package in the Python files below ``folder``, as ``file:line what``.

    Functions named in ``simulated_work`` may wait: in a test double, that is their work.
    """
    return [
        f"{path.name}:{line} {what}"
        for path in sorted(folder.rglob("*.py"))
        if path.name not in _FAKES
        for line, what in _found(ast.parse(path.read_text("utf-8")), simulated_work)
    ]


def _found(node: ast.AST, simulated_work: frozenset[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in simulated_work:
        return
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _WAITS:
            yield node.lineno, f"waits ({name})"
        case ast.While() if any(isinstance(inner, ast.Await) for inner in ast.walk(node)):
            yield node.lineno, "loops around an await"
        case ast.Import(names=names):
            yield from ((node.lineno, f"imports {n.name}") for n in names if _retries(n.name))
        case ast.ImportFrom(module=str(module)) if _retries(module):
            yield node.lineno, f"imports {module}"
    for child in ast.iter_child_nodes(node):
        yield from _found(child, simulated_work)


def _retries(module: str) -> bool:
    return module.split(".")[0] in _RETRY_PACKAGES
