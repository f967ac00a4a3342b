"""Nothing is too long to be read."""

from __future__ import annotations

import ast
from collections.abc import Mapping

MODULE_LINES = 500
FUNCTION_LINES = 60


def test_no_module_is_too_long(modules: Mapping[str, ast.Module]) -> None:
    lengths = {path: tree.body[-1].end_lineno or 0 for path, tree in modules.items() if tree.body}
    assert len(lengths) > 50
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_no_function_is_too_long(modules: Mapping[str, ast.Module]) -> None:
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 200
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}
