"""Each objective on networks of a few thousand weights: it learns, and goes on as if never stopped."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from PIL import Image

from adapters.wan_local.engine import WanEngine, WanJob
from adapters.wan_local.engine.condition import make_condition
from adapters.wan_local.engine.job import settle
from adapters.wan_local.engine.official import Family
from adapters.wan_local.tiny import Variant
from adapters.wan_local.training.autoencoder import Autoencoding, foreground, measure_latents, psnr
from adapters.wan_local.training.captions import words
from adapters.wan_local.training.films import sample_films, to_pixels
from adapters.wan_local.training.flow import Batch, FlowMatching, Noise
from adapters.wan_local.training.latents import Window, image_channels, normalised
from adapters.wan_local.training.reading import Reading
from adapters.wan_local.training.run import Draw, Objective
from adapters.wan_local.training.text import Prompts, make_text_encoder, make_tokenizer

# Under autocast torch says once that its norm could be faster.
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

SIZE, FRAMES = 32, 5
EVERYWHERE = Noise(low=0.0, high=1.0, shift=5.0)
Go = Callable[..., dict[str, Any] | None]


def vae(latent: int = 16) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=latent,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        latents_mean=[0.0] * latent,
        latents_std=[1.0] * latent,
    )


def transformer(taken: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=taken,
        out_channels=16,
        text_dim=16,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


def autoencoding() -> Objective:
    torch.manual_seed(0)
    return Autoencoding(
        vae(), lambda rng, count, frames: sample_films(rng, count, SIZE, frames)[1], batch=2, frames=FRAMES
    )


def flow(family: Family, noise: Noise = EVERYWHERE, *, frozen_text: bool = True) -> FlowMatching:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a", "circle"])
    window = Window(
        vae().eval(),
        seed=0,
        clips=16,
        steps=5,
        batch=8,
        size=SIZE,
        frames=FRAMES,
        channels=image_channels if family == "i2v" else None,
        given=0.5 if family == "ti2v" else None,
    )
    return FlowMatching(
        transformer(36 if family == "i2v" else 16),
        noise,
        Prompts(tokenizer, make_text_encoder(len(tokenizer), 16)),
        window,
        frozen_text=frozen_text,
        compiled=False,
    )


def reading() -> Reading:
    torch.manual_seed(0)
    tokenizer = make_tokenizer(words())
    prompts, near = (Prompts(tokenizer, make_text_encoder(len(tokenizer), 64)) for _ in range(2))
    return Reading(prompts, near)


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "vae": autoencoding,
    "base": lambda: flow("t2v", frozen_text=False),
    "text": reading,
    "t2v": lambda: flow("t2v", Noise(low=0.875, high=1.0, shift=12)),
    "i2v": lambda: flow("i2v"),
    "ti2v": lambda: flow("ti2v"),
}


def total(objective: Objective) -> float:
    """The losses at a step that training does not take."""
    draw = Draw(
        step=10_000,
        progress=1.0,
        rng=np.random.default_rng(7),
        noise=torch.Generator().manual_seed(7),
    )
    return sum(loss.item() for loss in objective.losses(draw).values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_learns_and_continues_bit_by_bit(name: str, go: Go) -> None:
    whole, first, second = (OBJECTIVES[name]() for _ in range(3))
    before = total(OBJECTIVES[name]())
    go(whole, 14, "whole")
    assert total(whole) < 0.97 * before
    go(first, 14, "parts", stop_at=6)
    go(second, 14, "parts")
    for part, module in whole.modules.items():
        other = second.modules[part].state_dict()
        for path, weight in module.state_dict().items():
            assert torch.equal(weight, other[path]), (part, path)


def test_the_text_encoder_is_trained_along_with_the_base_alone() -> None:
    assert set(OBJECTIVES["base"]().modules) == {"transformer", "text_encoder"}
    for name in ("t2v", "i2v", "ti2v"):
        assert set(OBJECTIVES[name]().modules) == {"transformer"}


@pytest.mark.parametrize(("low", "high"), [(0.875, 1.0), (0.0, 0.875)])
def test_an_expert_sees_its_side_of_the_boundary_alone(low: float, high: float) -> None:
    seen: list[float] = []
    objective = flow("t2v", Noise(low=low, high=high, shift=12))
    objective.modules["transformer"].register_forward_pre_hook(lambda _, args: seen.extend(args[1].tolist()))
    for _ in range(3):
        total(objective)
    spread = 1000 * (high - low)
    assert 1000 * low <= min(seen) < 1000 * low + 0.5 * spread
    assert 1000 * high - 0.2 * spread < max(seen) <= 1000 * high


def test_noise_is_spread_as_the_solver_walks_it() -> None:
    drawn = Noise(low=0.0, high=1.0, shift=12.0).draw(20_000, torch.Generator().manual_seed(0))
    even = drawn / (12 - 11 * drawn)
    assert torch.histc(even, 10, 0, 1) == pytest.approx(torch.full((10,), 2000.0), rel=0.1)


def test_ti2v_is_given_the_first_frame_clean_and_at_timestep_0() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    objective = flow("ti2v")
    objective.modules["transformer"].register_forward_pre_hook(
        lambda _, args: seen.append((args[0], args[1]))
    )
    clean = torch.randn(2, 16, 2, 4, 4)
    given = torch.zeros(2, 1, 2, 1, 1)
    given[0, :, 0] = 1
    objective._batches = lambda draw: Batch(latents=clean, captions=["", "a"], given=given)
    with_given = total(objective)
    noisy, timesteps = seen[-1]
    assert timesteps.shape == (2, 8)
    assert not timesteps[0, :4].any()
    assert (timesteps[0, 4:] == timesteps[0, 4]).all()
    assert (timesteps[1] == timesteps[1, 0]).all()
    assert torch.equal(noisy[0, :, 0], clean[0, :, 0])
    assert not torch.equal(noisy[1, :, 0], clean[1, :, 0])
    assert with_given > 0


def test_i2v_reads_what_the_engine_feeds_it(engine: Callable[[Variant], WanEngine]) -> None:
    model = engine("i2v").model
    _, clips = sample_films(np.random.default_rng(0), 1, SIZE, FRAMES)
    job = settle(
        WanJob(
            prompt="",
            image=Image.fromarray(clips[0, :, 0].permute(1, 2, 0).numpy()),
            width=SIZE,
            height=SIZE,
            frames=FRAMES,
        ),
        model,
    )
    latents = torch.zeros(1, 16, 2, 4, 4)
    with torch.no_grad():
        fed = make_condition(model, job, latents).model_input(latents)
    torch.testing.assert_close(image_channels(model.vae, to_pixels(clips)), fed[:, 16:], rtol=1e-4, atol=1e-4)


def test_latents_are_normalised_over_what_was_measured() -> None:
    network = vae().eval()
    _, clips = sample_films(np.random.default_rng(0), 32, SIZE, FRAMES)
    measure_latents(network, clips)
    found = normalised(network, to_pixels(clips))
    assert found.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-3
    assert found.std(dim=(0, 2, 3, 4)) == pytest.approx(torch.ones(16), abs=1e-2)


def test_a_faint_shape_counts_as_much_as_a_bright_one() -> None:
    pixels = torch.zeros(2, 3, 1, 16, 16)
    pixels[0, :, :, 4:8, 4:8] = 1.0
    pixels[1, :, :, 4:8, 4:8] = 0.1
    weight = foreground(pixels)
    assert torch.equal(weight[0], weight[1])
    assert weight[0, 0, 0, 5, 5] > 3 * weight[0, 0, 0, 12, 12]
    assert weight.mean() == pytest.approx(1)


def test_psnr_is_that_of_the_mean_square_error() -> None:
    class Dim:
        """Reconstructs everything a tenth of the range too dark."""

        device = torch.device("cpu")

        def encode(self, pixels: torch.Tensor) -> Any:
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pixels))

        def decode(self, latents: torch.Tensor) -> Any:
            return SimpleNamespace(sample=latents - 0.2)

    clips = torch.full((3, 3, 1, 8, 8), 200, dtype=torch.uint8)
    assert psnr(cast("AutoencoderKLWan", Dim()), clips) == pytest.approx(20.0, abs=0.01)
