"""What the family is made of: which stored part goes where in each model's folder.

Parts that models share are stored once. Importing this module imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from adapters.wan_local.tiny import Variant

WEIGHTS = Path(__file__).parent / "weights"
CARD = "README.md"

MODELS: Mapping[str, Variant] = MappingProxyType(
    {"wan-2.2-nano-t2v": "t2v", "wan-2.2-nano-i2v": "i2v", "wan-2.2-nano-ti2v": "ti2v"}
)
"""By their names on their cards."""

_SHARED = {name: name for name in ("scheduler", "text_encoder", "tokenizer")}
PARTS: Mapping[Variant, Mapping[str, str]] = MappingProxyType(
    {
        "t2v": {**_SHARED, "vae": "vae_16", "transformer": "t2v_high", "transformer_2": "t2v_low"},
        "i2v": {**_SHARED, "vae": "vae_16", "transformer": "i2v_high", "transformer_2": "i2v_low"},
        "ti2v": {**_SHARED, "vae": "vae_48", "transformer": "ti2v"},
    }
)
"""The stored part by its name in the model's folder."""


def find_model(name: str) -> str | None:
    """A model's name on its card, which ``nano-t2v`` and the like shorten; None for any other."""
    return next((model for model in MODELS if name in (model, model.removeprefix("wan-2.2-"))), None)


def stored_at(weights: Path, variant: Variant, file: str) -> Path:
    """Where ``file`` of the model's folder, ``vae/config.json``, is stored below ``weights``."""
    part, _, rest = file.partition("/")
    return weights / PARTS[variant][part] / rest if rest else weights / "models" / variant / file
