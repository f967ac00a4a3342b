"""The public contract is a list, and needs no more than pydantic and pluggy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping

from gateway import spec

OURS = {"gateway", "gateway.spec"}
ALLOWED = {"pydantic", "pluggy"}
THEIR_NEEDS = {"pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
"""What pydantic itself imports."""

PROBE = """
import sys
before = set(sys.modules)
import gateway.spec
found = {name for name in set(sys.modules) - before if not name.startswith("_sysconfigdata")}
print("\\n".join(sorted(found)))
"""


def test_every_public_name_is_listed_in_order(modules: Mapping[str, ast.Module]) -> None:
    tree = modules["gateway/spec/__init__.py"]
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert list(spec.__all__) == sorted(imported)
    assert all(hasattr(spec, name) for name in spec.__all__)


def test_every_public_class_and_function_of_its_modules_is_exported(
    modules: Mapping[str, ast.Module],
) -> None:
    defined = {
        (path, node.name)
        for path, tree in modules.items()
        if path.startswith("gateway/spec/") and not path.endswith("__init__.py")
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith(("_", "register_"))
    }
    assert len(defined) > 50
    assert {name for name in defined if name[1] not in spec.__all__} == set()


def test_it_imports_pydantic_and_pluggy_and_nothing_else_from_outside() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    outside = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert outside >= ALLOWED
    assert outside - ALLOWED - THEIR_NEEDS == {"gateway"}
    inside = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("gateway")}
    assert inside == OURS
