"""Who may import whom: the contracts in pyproject.toml are all kept."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"


def test_every_import_contract_is_kept(root: Path) -> None:
    contracts = _contracts(root)
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"{len(contracts)} kept, 0 broken", done.stdout), done.stdout


def test_the_doubles_contract_names_every_module(root: Path) -> None:
    (doubles,) = [one for one in _contracts(root) if one["id"] == "doubles-are-witnesses"]
    adapters = {file.parent for file in (root / "adapters").glob("*/_sandbox.py")}
    modules = {file.stem for adapter in adapters for file in adapter.rglob("_[a-z]*.py")}
    witnesses = {name for name in modules if name.startswith("_sandbox")}
    assert set(doubles["source_modules"]) == {f"adapters.*.{name}" for name in witnesses}
    assert set(doubles["forbidden_modules"]) == {f"adapters.*.{name}" for name in modules - witnesses}


def _contracts(root: Path) -> list[dict[str, Any]]:
    tool: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    found: list[dict[str, Any]] = tool["importlinter"]["contracts"]
    return found
