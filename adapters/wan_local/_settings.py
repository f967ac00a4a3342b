"""The operator's section ``wan_local``, and the models it speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from adapters.wan_local.tiny import Variant
from gateway.spec import Value

RealModel = Literal["wan-2.2-t2v-a14b", "wan-2.2-i2v-a14b", "wan-2.2-ti2v-5b"]
Where = Annotated[str, StringConstraints(min_length=1)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

VARIANTS: Mapping[RealModel, Variant] = MappingProxyType(
    {"wan-2.2-t2v-a14b": "t2v", "wan-2.2-i2v-a14b": "i2v", "wan-2.2-ti2v-5b": "ti2v"}
)
REPOSITORIES: Mapping[RealModel, str] = MappingProxyType(
    {
        "wan-2.2-t2v-a14b": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
        "wan-2.2-i2v-a14b": "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        "wan-2.2-ti2v-5b": "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    }
)
TINY_VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {f"{model}-tiny": variant for model, variant in VARIANTS.items()}
)


class WanSettings(Value):
    """Where the weights are. All paths are folders in diffusers format, with safetensors files only."""

    folders: dict[RealModel, Where] = Field(
        default_factory=dict, description="a folder, or a hub id with its commit under `revisions`"
    )
    distilled: dict[RealModel, Where] = Field(
        default_factory=dict, description="folders of few-step weights, which the preset `fast` runs on"
    )
    revisions: dict[RealModel, Commit] = Field(
        default_factory=dict, description="the full commit of a model whose folder is a hub id"
    )
    dtype: Literal["float32", "bfloat16"] | None = Field(
        default=None, description="left out: bfloat16 on a GPU, float32 elsewhere"
    )
    batched_guidance: bool = Field(
        default=False,
        description="both halves of guidance in one batch: more memory, faster where a clip is too small to"
        " fill the device",
    )
    test_weights: bool = Field(
        default=False, description="every real model runs on random weights of its kind: what test mode does"
    )
    tiny_dir: Path | None = Field(
        default=None, description="where random test weights are written; left out: in the data folder"
    )

    @property
    def real(self) -> bool:
        """True once any real weights are configured: the test weights then step back."""
        return bool(self.folders or self.distilled)
