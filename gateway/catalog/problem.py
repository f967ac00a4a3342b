"""What could not be taken into the catalog."""

from __future__ import annotations

from gateway.spec import Name, Value


class Problem(Value):
    """A card or an offer that was left out, and why. ``origin`` is the plugin, or the operator's settings."""

    origin: str
    code: Name
    detail: str
