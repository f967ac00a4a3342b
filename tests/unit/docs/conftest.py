"""The pages, and what they are held against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from typing_extensions import override

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its code blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def named(self) -> frozenset[str]:
        """What stands in backticks, whole and word by word."""
        spans = re.findall(r"`([^`\n]+)`", self.prose)
        return frozenset(spans) | {word for span in spans for word in re.split(r"[^\w.-]+", span)}

    def blocks(self, language: str) -> list[str]:
        """The code blocks in a language."""
        return [body for kind, body in FENCE.findall(self.text) if kind == language]

    def lacks(self, names: Sequence[str] | frozenset[str] | set[str]) -> list[str]:
        """Those of the names that no backticks of this page hold."""
        return sorted(set(names) - self.named)

    @override
    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def reference(name: str) -> Page:
    """A page of the reference."""
    return Page(REFERENCE / f"{name}.md")


def every_page() -> list[Page]:
    """The pages of docs/ and of the root."""
    return [Page(path) for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])]


@pytest.fixture(params=every_page(), ids=str)
def page(request: pytest.FixtureRequest) -> Page:
    """Each page in turn."""
    assert isinstance(request.param, Page)
    return request.param
