"""Which folder an offer's preset runs on, and why it may be missing. Nothing here does more than a stat."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

from adapters.wan_local._settings import TINY_VARIANTS, VARIANTS, RealModel, WanSettings
from adapters.wan_local.nano.family import MODELS as NANO_VARIANTS
from adapters.wan_local.tiny import Variant
from gateway.spec import Offer, Unready, Value

INDEX = "model_index.json"
_NEEDED = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Weights(Value):
    """What a model runs on.

    Attributes:
        where: the operator's folder in diffusers format, or hub id with its commit as ``revision``.
        ours: written on demand: ``random`` into ``where``, a trained ``nano`` into a folder below it.
    """

    model: str
    where: str
    variant: Variant
    revision: str | None = None
    ours: Literal["random", "nano"] | None = None


class Homes(Value):
    """The folders that our own weights are written to."""

    tiny: Path
    nano: Path


def find_weights(settings: WanSettings, homes: Homes, offer: Offer, preset: str) -> Weights | Unready:
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
    ours = {one.model: one for one in (*random_weights(homes), *nano_weights(homes))}
    if offer.upstream in ours:
        return _stand_in(settings, ours[offer.upstream])
    variant = VARIANTS.get(cast(RealModel, offer.upstream))
    if variant is None:
        known = ", ".join([*VARIANTS, *ours])
        return Unready(
            code="unknown_model", detail=f"upstream {offer.upstream!r} is none of wan_local's: {known}"
        )
    if settings.test_weights:
        return next(one for one in random_weights(homes) if one.variant == variant)
    chosen = offer.preset(preset)
    distilled = chosen is not None and chosen.fast
    return _real_weights(settings, cast(RealModel, offer.upstream), distilled=distilled)


@lru_cache(maxsize=1)
def missing_extra() -> tuple[str, ...]:
    """The packages of the extra ``wan`` that are not installed; none of them is imported to find out."""
    return tuple(name for name in _NEEDED if find_spec(name) is None)


def random_weights(homes: Homes) -> list[Weights]:
    """Every model's random test weights."""
    return [
        Weights(model=model, where=str(homes.tiny / variant), variant=variant, ours="random")
        for model, variant in TINY_VARIANTS.items()
    ]


def nano_weights(homes: Homes) -> list[Weights]:
    """The trained family that comes with this package."""
    return [
        Weights(model=model, where=str(homes.nano), variant=variant, ours="nano")
        for model, variant in NANO_VARIANTS.items()
    ]


def all_real_weights(settings: WanSettings) -> list[Weights]:
    """Every folder that the settings name and that is there."""
    asked = [(model, False) for model in settings.folders] + [(model, True) for model in settings.distilled]
    found = [_real_weights(settings, model, distilled=distilled) for model, distilled in asked]
    return [weights for weights in found if isinstance(weights, Weights)]


def _stand_in(settings: WanSettings, weights: Weights) -> Weights | Unready:
    if settings.real:
        return Unready(
            code="test_weights_off",
            detail="real Wan 2.2 weights are configured, so the test weights are switched off",
        )
    return weights


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
