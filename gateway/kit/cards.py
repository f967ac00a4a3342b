"""Reads a plugin's ``cards.yaml``: strictly, with every fault named by file and field."""

from __future__ import annotations

from collections.abc import Hashable
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError
from typing_extensions import override

from gateway.spec import Cards

MAX_BYTES = 1024**2
MAX_DEPTH = 32
"""Cards nest about eight levels deep; the constructor recurses once per level."""


class CardsError(Exception):
    """A cards file cannot be used. The text names its origin and every field that is wrong."""


class _Loader(yaml.CSafeLoader):
    """Refuses what YAML would take quietly and a price list must not: floats and repeated keys."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key has to be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def refuse_float(self, node: yaml.ScalarNode) -> None:
        """A float is not exact, and a sum of money has to be."""
        raise yaml.constructor.ConstructorError(
            None, None, f'write {node.value} in quotes: "{node.value}"', node.start_mark
        )


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.refuse_float)


def load_cards(package: str) -> Cards:
    """Read ``cards.yaml`` of an importable package; call it with ``__name__``.

    Raises:
        CardsError: the file is missing, or as :func:`parse_cards`.
    """
    origin = f"{package}/cards.yaml"
    try:
        with files(package).joinpath("cards.yaml").open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise CardsError(f"{origin}: cannot be read ({error})") from error
    except UnicodeDecodeError as error:
        raise CardsError(f"{origin}: is not UTF-8 ({error})") from error
    return parse_cards(text, origin)


def parse_cards(text: str, origin: str) -> Cards:
    """Read ``text``, a YAML mapping with ``models`` and ``offers``; ``origin`` names it in errors.

    Decimal numbers (money, seconds) are written in quotes.

    Raises:
        CardsError: too large, not YAML, an alias, a float, a repeated key, or a field that is unknown,
            missing or wrong.
    """
    if len(text.encode()) > MAX_BYTES:
        raise CardsError(f"{origin}: larger than {MAX_BYTES} bytes")
    try:
        _refuse_bombs(text, origin)
        data = yaml.load(text, _Loader)  # noqa: S506  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-02-30 looks like a date and is none
        raise CardsError(f"{origin}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise CardsError(f"{origin}: has to be a mapping with the keys models and offers")
    try:
        return Cards.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
        raise CardsError(f"{origin}: {wrong}") from None


def _refuse_bombs(text: str, origin: str) -> None:
    """Aliases let a short file stand for an endless one; nesting without end exhausts the stack."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise CardsError(f"{origin}: YAML aliases are not allowed{event.start_mark}")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise CardsError(f"{origin}: nested deeper than {MAX_DEPTH} levels{event.start_mark}")
