"""Which folder an offer's preset runs on, and why it may be missing. Nothing here does more than a stat."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from adapters.wan_local._settings import TINY_VARIANTS, VARIANTS, RealModel, WanSettings
from adapters.wan_local.tiny import Variant
from gateway.spec import Offer, Unready, Value

INDEX = "model_index.json"
_NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Weights(Value):
    """A folder in diffusers format, or a hub id with its commit. ``test``: random, written on demand."""

    model: str
    where: str
    variant: Variant
    revision: str | None = None
    test: bool = False


def find_weights(settings: WanSettings, tiny_dir: Path, offer: Offer, preset: str) -> Weights | Unready:
    """The weights that this preset of ``offer`` runs on, or why it cannot run here.

    A preset marked ``fast`` runs on the model's distilled folder. The reasons may be shown to a caller, so
    they name settings and no paths.
    """
    missing = missing_extra()
    if missing:
        return Unready(
            code="extra_missing",
            detail=f"{', '.join(missing)} not installed: pip install 'reelgate[wan]'",
        )
    variant = VARIANTS.get(cast(RealModel, offer.upstream)) or TINY_VARIANTS.get(offer.upstream)
    if variant is None:
        known = ", ".join([*VARIANTS, *TINY_VARIANTS])
        return Unready(
            code="unknown_model", detail=f"upstream {offer.upstream!r} is none of wan_local's: {known}"
        )
    if settings.test_weights:
        return next(one for one in all_test_weights(tiny_dir) if one.variant == variant)
    if offer.upstream in TINY_VARIANTS:
        return _test_weights(settings, tiny_dir, offer.upstream)
    chosen = offer.preset(preset)
    distilled = chosen is not None and chosen.fast
    return _real_weights(settings, cast(RealModel, offer.upstream), distilled=distilled)


@lru_cache(maxsize=1)
def missing_extra() -> tuple[str, ...]:
    """The packages of the extra ``wan`` that are not installed; none of them is imported to find out."""
    return tuple(name for name in _NEEDED if find_spec(name) is None)


def all_test_weights(tiny_dir: Path) -> list[Weights]:
    """Every model's random test weights."""
    return [
        Weights(model=model, where=str(tiny_dir / variant), variant=variant, test=True)
        for model, variant in TINY_VARIANTS.items()
    ]


def all_real_weights(settings: WanSettings) -> list[Weights]:
    """Every folder that the settings name and that is there."""
    asked = [(model, False) for model in settings.folders] + [(model, True) for model in settings.distilled]
    found = [_real_weights(settings, model, distilled=distilled) for model, distilled in asked]
    return [weights for weights in found if isinstance(weights, Weights)]


def _test_weights(settings: WanSettings, tiny_dir: Path, model: str) -> Weights | Unready:
    if settings.real:
        return Unready(
            code="test_weights_off",
            detail="real Wan 2.2 weights are configured, so the random test weights are switched off",
        )
    return next(weights for weights in all_test_weights(tiny_dir) if weights.model == model)


def _real_weights(settings: WanSettings, model: RealModel, *, distilled: bool) -> Weights | Unready:
    section = "distilled" if distilled else "folders"
    code = "no_distilled_weights" if distilled else "no_weights"
    setting = f"plugins.wan_local.{section}.{model}"
    where = (settings.distilled if distilled else settings.folders).get(model)
    if where is None:
        kind = "distilled folder" if distilled else "folder or hub id"
        return Unready(code=code, detail=f"no weights are configured: set {setting} to a {kind}")
    folder = Path(where).expanduser()
    if (folder / INDEX).is_file():
        return Weights(model=model, where=str(folder), variant=VARIANTS[model])
    if distilled or folder.exists() or not _HUB_ID.fullmatch(where):
        return Unready(code=code, detail=f"the folder named by {setting} is missing or holds no {INDEX}")
    revision = settings.revisions.get(model)
    if revision is None:
        pin = f"plugins.wan_local.revisions.{model}"
        return Unready(code=code, detail=f"{setting} is a hub id: set {pin} to its full commit hash")
    return Weights(model=model, where=where, variant=VARIANTS[model], revision=revision)
