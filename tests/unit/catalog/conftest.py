"""The catalog of our own cards, read as files: plugins need not be installed or importable."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog import Catalog
from gateway.kit.cards import parse_cards
from gateway.spec import Cards

ADAPTERS = Path(__file__).parents[3] / "adapters"


@pytest.fixture(scope="session")
def files() -> dict[str, Cards]:
    """Every ``cards.yaml`` we ship, by its plugin."""
    found = sorted(ADAPTERS.glob("*/cards.yaml"))
    return {file.parent.name: parse_cards(file.read_text(), str(file)) for file in found}


@pytest.fixture(scope="session")
def catalog(files: dict[str, Cards]) -> Catalog:
    return Catalog.join(list(files.items()))
