"""Looking at a clip before it is finished: pictures while it runs, and its first steps as a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from adapters.wan_local.engine import Cancelled, CheckpointMismatch, UnsupportedJob, WanEngine, WanJob
from adapters.wan_local.engine import latent_rgb as latent_rgb_module
from adapters.wan_local.engine.decode import decode_chunks
from adapters.wan_local.engine.latent_rgb import FILE, LatentRgb, fit, latent_rgb
from adapters.wan_local.engine.latents import normalise
from adapters.wan_local.tiny import Variant, write_tiny

Engine = Callable[[Variant], WanEngine]
Photo = Callable[[int], Image.Image]
Watch = Callable[..., Any]
JOB = WanJob(prompt="a cat", width=64, height=32, frames=9, steps=8, seed=7, shift=5.0)


def job_for(variant: Variant, photo: Photo) -> WanJob:
    return JOB if variant == "t2v" else replace(JOB, image=photo(1))


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_a_preview_continued_equals_the_uninterrupted_run(
    variant: Variant, engine: Engine, photo: Photo
) -> None:
    job = job_for(variant, photo)
    whole = engine(variant).run(job)
    part = engine(variant).preview(job, steps=2)
    rest = engine(variant).run(job, resume=part.checkpoint)
    assert torch.equal(rest.latents, whole.latents)
    assert all(np.array_equal(a, b) for a, b in zip(rest.frames, whole.frames, strict=True))
    assert (part.stats.forwards["high"], part.stats.forwards["low"]) == (4, 0)
    for expert in ("high", "low"):
        both = part.stats.forwards[expert] + rest.stats.forwards[expert]  # type: ignore[index]  # a literal
        assert both == whole.stats.forwards[expert]  # type: ignore[index]  # a literal


@pytest.mark.parametrize("sampler", ["unipc", "euler"])
def test_a_preview_shows_what_the_last_step_expects(sampler: Any, engine: Engine, watch: Watch) -> None:
    # x0 = x - sigma * v, of the latents that went into the step and the velocity that came out.
    job = replace(JOB, sampler=sampler, steps=8, guidance_high=1.0, guidance_low=1.0)
    control = watch(keep=[1])
    part = engine("t2v").preview(job, steps=2, control=control)
    before = control.kept[1].latents
    velocities: list[torch.Tensor] = []
    network = engine("t2v").model.transformer
    hook = network.proj_out.register_forward_hook(lambda *given: velocities.append(given[2]))
    engine("t2v").preview(job, steps=2)
    hook.remove()
    patches = velocities[1].reshape(1, 3, 2, 4, 1, 2, 2, 16).permute(0, 7, 1, 4, 2, 5, 3, 6)
    velocity = patches.reshape(1, 16, 3, 4, 8)
    # the second timestep of 8 with shift 5: u = 7/8
    sigma = {"unipc": None, "euler": 5 * 0.875 / (1 + 4 * 0.875)}[sampler]
    if sigma is None:
        sigma = float(part.checkpoint.solver.tensors["timestep_list.1"]) / 1000
        assert torch.allclose(part.latents, before - sigma * velocity, atol=5e-3)
    else:
        assert torch.allclose(part.latents, before - sigma * velocity, atol=1e-5)


@pytest.mark.parametrize("sampler", ["unipc", "euler"])
def test_a_preview_can_be_resumed_at_every_step(sampler: Any, engine: Engine, watch: Watch) -> None:
    job = replace(JOB, sampler=sampler, steps=8, guidance_high=4.0)
    control = watch(keep=[1, 2, 3])
    whole = engine("t2v").preview(job, steps=3, control=control)
    for step, kept in control.kept.items():
        again = engine("t2v").preview(job, steps=3, resume=kept)
        assert torch.equal(again.latents, whole.latents)
        assert again.stats.steps["high"] == 3 - step
        assert again.checkpoint.step == 3
        finished = engine("t2v").run(job, resume=again.checkpoint)
        assert torch.equal(finished.latents, engine("t2v").run(job).latents)
    with pytest.raises(CheckpointMismatch, match="at step 3, and the preview ends at 2"):
        engine("t2v").preview(job, steps=2, resume=control.kept[3])


def test_a_previews_frames_are_its_latents_decoded_at_full_size(engine: Engine) -> None:
    part = engine("t2v").preview(JOB, steps=2)
    frames = list(part.frames)
    assert len(frames) == 9
    assert frames[0].shape == (32, 64, 3)
    pixels = torch.cat(list(decode_chunks(engine("t2v").model.vae, part.latents)), dim=2)
    first = ((pixels[0, :, 0].permute(1, 2, 0) * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    assert np.array_equal(frames[0], first.numpy())


def test_a_pinned_image_shows_in_a_preview(engine: Engine, photo: Photo, watch: Watch) -> None:
    job = job_for("ti2v", photo)
    part = engine("ti2v").preview(job, steps=1)
    whole = engine("ti2v").run(job)
    assert torch.equal(part.latents[:, :, 0], whole.latents[:, :, 0])
    assert not torch.equal(part.latents[:, :, 1], whole.latents[:, :, 1])


@pytest.mark.parametrize(("variant", "steps"), [("t2v", 0), ("t2v", 6), ("t2v", 8), ("ti2v", 8), ("i2v", -1)])
def test_a_preview_is_of_the_high_noise_steps(
    variant: Variant, steps: int, engine: Engine, photo: Photo
) -> None:
    most = {"t2v": 4, "i2v": 3, "ti2v": 7}[variant]
    with pytest.raises(UnsupportedJob, match=f"of this job's 8 they may be 1 to {most}"):
        engine(variant).preview(job_for(variant, photo), steps=steps)


def test_a_preview_can_be_cancelled(engine: Engine, watch: Watch) -> None:
    with pytest.raises(Cancelled):
        engine("t2v").preview(JOB, steps=3, control=watch(stop_at=("high", 1)))
    frames = engine("t2v").preview(JOB, steps=2, control=watch(stop_at=("decode", 5))).frames
    assert sum(1 for _ in zip(range(5), frames, strict=False)) == 5
    with pytest.raises(Cancelled):
        next(frames)


@pytest.mark.parametrize(("variant", "scale"), [("t2v", 8), ("i2v", 8), ("ti2v", 16)])
def test_pictures_come_with_the_steps_that_are_asked_for_them(
    variant: Variant, scale: int, engine: Engine, photo: Photo, watch: Watch
) -> None:
    control = watch(look=[2, 5])
    job = replace(job_for(variant, photo), frames=49)
    watched = engine(variant).run(job, control)
    assert list(control.seen) == [2, 5]
    for pictures in control.seen.values():
        assert len(pictures) == 8
        assert {picture.shape for picture in pictures} == {(32 // scale, 64 // scale, 3)}
        assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
    assert not np.array_equal(control.seen[2], control.seen[5])
    assert watched.stats.seconds["preview"] > 0
    assert torch.equal(engine(variant).run(job).latents, watched.latents)


@pytest.mark.parametrize("variant", ["t2v", "ti2v"])
def test_the_map_is_the_least_squares_fit_to_what_the_vae_decodes(variant: Variant, engine: Engine) -> None:
    vae = engine(variant).model.vae
    scale = vae.config.scale_factor_spatial
    fitted = fit(vae)
    assert fitted.weight.shape == (vae.config.z_dim, 3)
    again = fit(vae)
    assert torch.equal(fitted.weight, again.weight)
    assert torch.equal(fitted.bias, again.bias)
    # On a picture that was not among those it was fitted to, it says more than the mean colour does.
    ramp = torch.linspace(-1, 1, 8 * scale)
    picture = torch.stack(
        [ramp.expand(8 * scale, -1), ramp.expand(8 * scale, -1).T, ramp.expand(8 * scale, -1)]
    )
    with torch.no_grad():
        latents = normalise(vae, vae.encode(picture[None, :, None]).latent_dist.mode())
        seen = next(decode_chunks(vae, latents))[:, :, 0]
    vae.clear_cache()
    target = torch.nn.functional.avg_pool2d(seen, scale)
    guessed = fitted.pixels(latents)[:, :, 0]
    mean = target.mean(dim=(2, 3), keepdim=True)
    assert float((guessed - target).square().mean()) < 0.8 * float((mean - target).square().mean())


def test_the_map_recovers_a_linear_decoder() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.rand((16, 3), generator=generator), torch.rand(3, generator=generator)
    latents = torch.randn((1, 16, 2, 3, 4), generator=generator)
    pixels = LatentRgb(weight, bias).pixels(latents)
    assert pixels.shape == (1, 3, 2, 3, 4)
    assert torch.allclose(pixels[0, :, 1, 2, 3], latents[0, :, 1, 2, 3] @ weight + bias, atol=1e-6)


def test_the_map_is_kept_beside_the_weights_and_made_anew_for_others(tmp_path: Path) -> None:
    write_tiny(tmp_path / "model", "t2v")
    model = WanEngine.load(tmp_path / "model").model
    first = latent_rgb(model)
    kept = (tmp_path / "model" / FILE).read_bytes()
    assert torch.equal(latent_rgb(model).weight, first.weight)
    assert (tmp_path / "model" / FILE).read_bytes() == kept
    # kept for other weights, or damaged: not used
    latent_rgb(replace(model, digest="1" * 64))
    assert (tmp_path / "model" / FILE).read_bytes() != kept
    good = {"weight": first.weight, "bias": first.bias}
    told = {"weights": model.digest}
    for damaged in (
        kept[:50],
        save(good | {"weight": torch.zeros(3, 3)}, metadata=told),
        save(good | {"weight": first.weight.double()}, metadata=told),
        save(good | {"bias": torch.full((3,), float("nan"))}, metadata=told),
    ):
        (tmp_path / "model" / FILE).write_bytes(damaged)
        assert torch.equal(latent_rgb(model).weight, first.weight)
        assert (tmp_path / "model" / FILE).read_bytes() == kept
    assert [path.name for path in (tmp_path / "model").glob("reelgate-latent*")] == [FILE]


def test_an_engine_fits_the_map_once(
    engine: Engine, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[None] = []

    def fitting(vae: Any) -> LatentRgb:
        fits.append(None)
        return fit(vae)

    monkeypatch.setattr(latent_rgb_module, "fit", fitting)
    read_only = WanEngine(replace(engine("t2v").model, path=tmp_path / "not there"))
    for _ in range(2):
        read_only.run(JOB, watch(look=[1, 2]))
    assert len(fits) == 1


def test_a_folder_that_cannot_be_written_costs_the_map_nothing_but_time(tmp_path: Path) -> None:
    write_tiny(tmp_path / "model", "t2v")
    model = WanEngine.load(tmp_path / "model").model
    gone = replace(model, path=tmp_path / "not there")
    assert torch.equal(latent_rgb(gone).weight, latent_rgb(model).weight)
    assert not (tmp_path / "not there").exists()
