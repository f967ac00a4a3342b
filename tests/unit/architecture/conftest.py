"""The source files, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def modules() -> Mapping[str, ast.Module]:
    """Every module that is installed, by its path in the repository."""
    files = [file for package in ("gateway", "adapters", "routing_policies") for file in _python(package)]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}


def _python(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))
