"""Why a way to serve a request is left out."""

from __future__ import annotations

from gateway.spec import Dropped


class Excluded(Exception):
    """A hard rule says no. ``detail`` names what would be allowed; offer and preset None mean all of them."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def dropped(self, model: str, offer: str | None = None, preset: str | None = None) -> Dropped:
        """This exclusion as the plan records it."""
        return Dropped(model=model, offer=offer, preset=preset, code=self.code, detail=self.detail)
