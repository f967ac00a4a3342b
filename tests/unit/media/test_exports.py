"""The package's names are a list."""

from __future__ import annotations

import types

from gateway import media


def test_all_names_are_listed_and_there() -> None:
    public = {
        name
        for name, value in vars(media).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, types.ModuleType)
    }
    assert public == set(media.__all__)
