"""Model cards and offers of all plugins, joined. The cards themselves are the plugins' data."""

from __future__ import annotations

from gateway.catalog.catalog import Catalog
from gateway.catalog.problem import Problem

__all__ = ["Catalog", "Problem"]
