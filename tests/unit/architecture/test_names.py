"""The core names no provider and no model: they bring their own names with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

NAMES = (
    "azure",
    "bedrock",
    "bytedance",
    "comet",
    "cosmos",
    "dashscope",
    "fal",
    "gemini",
    "google",
    "hailuo",
    "hunyuan",
    "kling",
    "kuaishou",
    "ltx",
    "luma",
    "minimax",
    "openai",
    "pika",
    "replicate",
    "runpod",
    "runway",
    "seedance",
    "sora",
    "veo",
    "vertex",
    "vidu",
    "volcengine",
    "wan",
)

WIRE_FORMAT = ("openai", "gateway/api/")
"""Our own API speaks the format of this name, and nothing else of the core does."""

WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(NAMES)})(?![a-z])")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _said(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and every string that is no documentation."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "name", "arg", "module", "asname"):
            if isinstance(text := getattr(node, field, None), str):
                yield line, text
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield line, node.value


def _named(path: str, tree: ast.Module) -> list[str]:
    return [
        f"{path}:{line}: {name} in {text!r}"
        for line, text in _said(tree)
        for name in WORD.findall(CAMEL.sub("_", text).lower())
        if not (name == WIRE_FORMAT[0] and path.startswith(WIRE_FORMAT[1]))
    ]


def test_the_core_names_no_provider(modules: Mapping[str, ast.Module]) -> None:
    core = {path: tree for path, tree in modules.items() if path.startswith("gateway/")}
    assert len(core) > 50
    found = [line for path, tree in core.items() for line in _named(path, tree)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "if adapter == 'kling': ...",
        "class VeoAdapter: ...",
        "def poll_veo(): ...",
        "import adapters.wan_local",
        "from x import y as fal",
        "call(model='wan-2.2-t2v-a14b')",
        "row.sora_id",
        "text = f'ask {name} at fal.ai'",
        "url = 'https://generativelanguage.google.test'",
        "openai = 1",
    ],
)
def test_a_name_would_be_seen(code: str) -> None:
    assert _named("gateway/jobs/x.py", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "video = default_value = 'want the false swan'",
        "def f():\n    '''Kling first.'''",
        "x = 1  # as Veo does",
    ],
)
def test_other_words_and_documentation_are_left_alone(code: str) -> None:
    assert _named("gateway/jobs/x.py", ast.parse(code)) == []
