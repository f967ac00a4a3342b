"""LoRAs: hung on the experts for one job, and taken off when it ends.

A LoRA for a mixture of experts is two files, one for each: they were trained on different noise. diffusers
reads its own format and those of ComfyUI, LightX2V and musubi-tuner; PEFT wraps the layers that a file names
and leaves their weights alone, so that taking it off again gives back the very model.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import WanPipeline, WanTransformer3DModel
from safetensors import SafetensorError

from adapters.wan_local.engine.errors import LoraError, naming_out_of_memory
from adapters.wan_local.engine.model import WanModel

_PREFIX = "transformer."


@dataclass(frozen=True, kw_only=True)
class WanLora:
    """Safetensors files for the high-noise and the low-noise expert, either or both.

    ``weight`` scales what they add. A model with one expert takes ``high`` alone.
    """

    high: str | Path | None = None
    low: str | Path | None = None
    weight: float = 1.0


def digest(loras: Sequence[WanLora]) -> str:
    """The sha256 in hex of the files and weights, in order; "none" without any.

    Raises:
        LoraError: a file cannot be read.
    """
    if not loras:
        return "none"
    told = hashlib.sha256()
    for lora in loras:
        for path in (lora.high, lora.low):
            told.update(b"-" if path is None else _sha256(Path(path)))
        told.update(repr(float(lora.weight)).encode())
    return told.hexdigest()


@contextmanager
def hung_on(model: WanModel, loras: Sequence[WanLora]) -> Iterator[None]:
    """Inside, the model's experts have these LoRAs.

    Raises:
        LoraError: a file is missing, is not safetensors, or is not for this model.
        OutOfMemory: they do not fit on the device.
    """
    worn: list[WanTransformer3DModel] = []
    try:
        for transformer, files in _by_expert(model, loras):
            worn.append(transformer)
            with naming_out_of_memory("lora"):
                _hang(transformer, files)
        yield
    finally:
        for transformer in worn:
            transformer.unload_lora()


def _by_expert(
    model: WanModel, loras: Sequence[WanLora]
) -> list[tuple[WanTransformer3DModel, list[tuple[Path, float]]]]:
    high = [(Path(lora.high), lora.weight) for lora in loras if lora.high is not None]
    low = [(Path(lora.low), lora.weight) for lora in loras if lora.low is not None]
    pairs = ((model.expert("high"), high), (model.expert("low"), low))
    return [(transformer, files) for transformer, files in pairs if files]


def _hang(transformer: WanTransformer3DModel, files: list[tuple[Path, float]]) -> None:
    names = [f"lora_{number}" for number in range(len(files))]
    for name, (path, _) in zip(names, files, strict=True):
        state, metadata = _read(path)
        _check(path, state, transformer)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second one is meant
                WanPipeline.load_lora_into_transformer(
                    state, transformer, adapter_name=name, metadata=metadata
                )
        except (ValueError, RuntimeError, KeyError) as error:
            raise LoraError(f"{path} does not fit this model ({error}): give one made for it") from error
    transformer.set_adapters(names, [weight for _, weight in files])


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    if path.suffix != ".safetensors":
        raise LoraError(f"{path} is not named .safetensors: nothing else is read")
    if not path.is_file():
        raise LoraError(f"{path}: there is no such file")
    try:
        state, metadata = WanPipeline.lora_state_dict(
            str(path.parent),
            weight_name=path.name,
            local_files_only=True,
            use_safetensors=True,
            return_lora_metadata=True,
        )
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise LoraError(f"{path} cannot be read ({error}): download it again") from error
    return state, metadata


def _check(path: Path, state: dict[str, Any], transformer: WanTransformer3DModel) -> None:
    """diffusers passes over what it does not know, and a LoRA that does nothing looks like one that works."""
    modules = dict(transformer.named_modules())
    layers = {name: name.removeprefix(_PREFIX).partition(".lora_")[0] for name in state}
    strange = [name for name, layer in layers.items() if not name.startswith(_PREFIX) or layer not in modules]
    if strange or not state:
        what = f"has {strange[0]}, which this model has not" if strange else "holds no LoRA"
        raise LoraError(f"{path} {what}: give one made for it")


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise LoraError(f"{path} cannot be read: {error.strerror}") from error
