"""LoRAs: those of diffusers, each on its expert, for one job alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from adapters.wan_local.engine import (
    Cancelled,
    CheckpointMismatch,
    LoraError,
    UnsupportedJob,
    WanEngine,
    WanJob,
    WanLora,
)
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
TOLERANCE = 1e-5
JOB = WanJob(
    prompt="a cat", negative_prompt="blurred", width=32, height=32, frames=5, steps=4, seed=7, shift=5.0
)
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[Variant], Path]) -> Callable[..., Path]:
    """A LoRA file as diffusers writes one, random, by seed; ``alpha`` other than its rank scales it."""
    root = tmp_path_factory.mktemp("loras")

    def write(seed: int, *, alpha: int = 4, variant: Variant = "t2v") -> Path:
        path = root / f"{variant}-{seed}-{alpha}.safetensors"
        if path.exists():
            return path
        network = WanTransformer3DModel.from_pretrained(tiny(variant) / "transformer")
        network.add_adapter(LoraConfig(r=4, lora_alpha=alpha, target_modules=LAYERS))
        generator = torch.Generator().manual_seed(seed)
        for name, weight in network.named_parameters():
            if "lora_" in name:
                weight.data = torch.randn(weight.shape, generator=generator) * 0.2
        config = network.peft_config["default"].to_dict()
        WanPipeline.save_lora_weights(
            root,
            transformer_lora_layers=get_peft_model_state_dict(network),
            weight_name=path.name,
            transformer_lora_adapter_metadata={
                name: list(value) if isinstance(value, set) else value for name, value in config.items()
            },
        )
        return path

    return write


@pytest.fixture(scope="module")
def reference(tiny: Callable[[Variant], Path]) -> Callable[..., torch.Tensor]:
    """What WanPipeline makes of ``JOB`` with these files loaded, each (expert's file, weight)."""

    def run(*loras: tuple[Path | None, Path | None, float]) -> torch.Tensor:
        pipe = WanPipeline.from_pretrained(tiny("t2v"), boundary_ratio=0.875)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=JOB.shift)
        for place, transformer in enumerate((pipe.transformer, pipe.transformer_2)):
            files = [(str(one[place]), one[2]) for one in loras if one[place] is not None]
            for number, (path, _) in enumerate(files):
                pipe.load_lora_weights(path, adapter_name=f"x{number}", load_into_transformer_2=place == 1)
            if files:
                transformer.set_adapters(
                    [f"x{n}" for n in range(len(files))], [weight for _, weight in files]
                )
        latents: torch.Tensor = pipe(
            prompt=JOB.prompt,
            negative_prompt=JOB.negative_prompt,
            width=32,
            height=32,
            num_frames=5,
            num_inference_steps=4,
            guidance_scale=4.0,
            guidance_scale_2=3.0,
            generator=torch.Generator().manual_seed(7),
            output_type="latent",
        ).frames
        return latents

    return run


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # diffusers', of the reference
@pytest.mark.parametrize("which", ["high", "low", "both", "two of them", "scaled"])
def test_a_clip_equals_that_of_diffusers(
    which: str, engine: Engine, lora: Callable[..., Path], reference: Callable[..., torch.Tensor]
) -> None:
    a, b = lora(1), lora(2, alpha=8)
    loras: dict[str, list[tuple[Path | None, Path | None, float]]] = {
        "high": [(a, None, 1.0)],
        "low": [(None, b, 1.0)],
        "both": [(a, b, 1.0)],
        "two of them": [(a, b, 0.7), (b, None, 0.3)],
        "scaled": [(a, b, 0.5)],
    }
    given = loras[which]
    job = replace(JOB, loras=tuple(WanLora(high=h, low=lo, weight=w) for h, lo, w in given))
    ours = engine("t2v").run(job).latents
    assert difference(ours, reference(*given)) <= TOLERANCE
    assert difference(ours, engine("t2v").run(JOB).latents) > 100 * TOLERANCE


def test_a_job_leaves_the_model_as_it_was(engine: Engine, lora: Callable[..., Path], watch: Any) -> None:
    model = engine("t2v").model
    weights = {name: weight.clone() for name, weight in model.transformer.state_dict().items()}
    before = engine("t2v").run(JOB).latents
    job = replace(JOB, loras=(WanLora(high=lora(1), low=lora(2)),))
    first = engine("t2v").run(job).latents
    assert torch.equal(engine("t2v").run(JOB).latents, before)
    with pytest.raises(Cancelled):
        engine("t2v").run(job, watch(stop_at=("high", 1)))
    assert torch.equal(engine("t2v").run(JOB).latents, before)
    assert torch.equal(engine("t2v").run(job).latents, first)
    after = model.transformer.state_dict()
    assert set(after) == set(weights)
    assert all(torch.equal(after[name], weight) for name, weight in weights.items())


def test_a_resumed_job_has_its_loras_and_no_other(
    engine: Engine, lora: Callable[..., Path], watch: Any
) -> None:
    job = replace(JOB, loras=(WanLora(high=lora(1), low=lora(2)),))
    control = watch(keep=[1, 3])
    whole = engine("t2v").run(job, control).latents
    for kept in control.kept.values():
        assert torch.equal(engine("t2v").run(job, resume=kept).latents, whole)
    for loras in ((), (WanLora(high=lora(1)),), (WanLora(high=lora(1), low=lora(2), weight=0.5),)):
        with pytest.raises(CheckpointMismatch, match="loras"):
            engine("t2v").run(replace(job, loras=loras), resume=control.kept[1])


@pytest.mark.parametrize(
    ("loras", "message"),
    [
        ((WanLora(),), "neither a file for the high-noise nor for the low-noise expert"),
        ((WanLora(high=Path("x.safetensors"), weight=float("nan")),), "weight nan"),
    ],
)
def test_a_lora_without_files_or_weight_is_refused(
    loras: tuple[WanLora, ...], message: str, engine: Engine
) -> None:
    with pytest.raises(UnsupportedJob, match=message):
        engine("t2v").run(replace(JOB, loras=loras))


def test_one_expert_takes_one_file(engine: Engine, lora: Callable[..., Path]) -> None:
    path = lora(3, variant="ti2v")
    plain = replace(JOB, width=64, height=64)
    with pytest.raises(UnsupportedJob, match="one expert"):
        engine("ti2v").run(replace(plain, loras=(WanLora(low=path),)))
    dressed = engine("ti2v").run(replace(plain, loras=(WanLora(high=path),))).latents
    assert difference(dressed, engine("ti2v").run(plain).latents) > 100 * TOLERANCE


def test_bad_files_are_refused_by_name_and_leave_the_model_clean(
    engine: Engine, lora: Callable[..., Path], tmp_path: Path
) -> None:
    good = load_file(lora(1))
    bad = {
        "missing": tmp_path / "missing.safetensors",
        "pickle": tmp_path / "lora.bin",
        "cut short": tmp_path / "short.safetensors",
        "of another model": tmp_path / "other.safetensors",
        "of other sizes": tmp_path / "sizes.safetensors",
        "empty": tmp_path / "empty.safetensors",
    }
    bad["pickle"].write_bytes(b"\x80\x04")
    bad["cut short"].write_bytes(lora(1).read_bytes()[:-50])
    save_file(
        {name.replace("blocks.0", "blocks.7"): each for name, each in good.items()}, bad["of another model"]
    )
    save_file(
        {name: torch.zeros(each.shape[0] + 1, each.shape[1] + 1) for name, each in good.items()},
        bad["of other sizes"],
    )
    save_file({}, bad["empty"])
    before = engine("t2v").run(JOB).latents
    for what, path in bad.items():
        for wear in (WanLora(high=path), WanLora(high=lora(1), low=path)):
            with pytest.raises(LoraError) as caught:
                engine("t2v").run(replace(JOB, loras=(wear,)))
            assert str(path) in str(caught.value), what
    assert torch.equal(engine("t2v").run(JOB).latents, before)
