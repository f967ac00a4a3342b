"""What the engine does with less work gives what the plain form gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from adapters.wan_local.engine import WanEngine, WanJob
from adapters.wan_local.engine.text import encode_prompt
from adapters.wan_local.engine.transformer import PromptedExpert, Timesteps
from adapters.wan_local.tiny import Variant

Engine = Callable[[Variant], WanEngine]
TOLERANCE = 1e-5
LONG = "静态细节模糊不清" * 20
JOB = WanJob(prompt="a cat bakes a cake", width=64, height=64, frames=9, steps=4, seed=3, shift=5.0)


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("variant", ["t2v", "i2v", "ti2v"])
def test_batched_guidance_gives_the_clip_of_guidance_in_turn(
    variant: Variant, engine: Engine, photo: Callable[[int], Image.Image]
) -> None:
    job = JOB if variant == "t2v" else replace(JOB, image=photo(1))
    in_turn = engine(variant).run(job)
    batched = WanEngine(engine(variant).model, batched_guidance=True).run(job)
    assert float((batched.latents - in_turn.latents).abs().max()) <= TOLERANCE
    assert batched.stats.forwards == in_turn.stats.forwards


def test_batched_guidance_goes_through_the_blocks_once_a_step(engine: Engine) -> None:
    sizes: list[int] = []
    block = engine("t2v").model.transformer.blocks[0]
    hook = block.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[0]))
    WanEngine(engine("t2v").model, batched_guidance=True).run(replace(JOB, guidance_low=1.0))
    hook.remove()
    assert sizes == [2, 2]


@pytest.mark.parametrize("text", ["", "a cat", "x" * 62, "x" * 63, "x" * 64, LONG, "x" * 511, "x" * 700])
@pytest.mark.parametrize("variant", ["t2v", "ti2v"])
def test_a_prompt_encoded_with_little_padding_equals_one_padded_to_512(
    text: str, variant: Variant, engine: Engine
) -> None:
    model = engine(variant).model
    padded = model.tokenizer(text, padding="max_length", max_length=512, truncation=True, return_tensors="pt")
    with torch.no_grad():
        whole = model.text_encoder(padded["input_ids"], padded["attention_mask"]).last_hidden_state
        ours = encode_prompt(model, text)
    plain = whole * padded["attention_mask"].unsqueeze(-1)
    assert ours.embeds.shape == plain.shape
    assert float((ours.embeds - plain).abs().max()) <= TOLERANCE
    assert float(plain.abs().max()) > 1


def test_a_short_prompt_costs_the_encoder_little(engine: Engine) -> None:
    lengths: list[int] = []
    encoder = engine("t2v").model.text_encoder
    hook = encoder.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    with torch.no_grad():
        for text in ("a cat", "x" * 100, "x" * 700):
            encode_prompt(engine("t2v").model, text)
    hook.remove()
    assert lengths == [64, 128, 512]


@pytest.mark.parametrize("pinned", [False, True])
def test_distinct_timesteps_looked_up_by_token_equal_one_for_each_token(pinned: bool, engine: Engine) -> None:
    network = engine("ti2v").model.transformer
    noisy, text = seeded(1, 48, 3, 4, 8), seeded(1, 512, 32)
    tokens_a_frame, t = 8, torch.tensor(937.0)
    of_token = torch.ones(3 * tokens_a_frame, dtype=torch.long)
    if pinned:
        of_token[:tokens_a_frame] = 0
    by_token = torch.stack([torch.tensor(0.0), t])[of_token].unsqueeze(0)
    given = (
        Timesteps(values=torch.stack([torch.tensor(0.0), t]), of_token=of_token, by_token=True)
        if pinned
        else Timesteps(values=t.expand(1), by_token=True)
    )
    embedded: list[int] = []
    embedder = network.condition_embedder.time_embedder
    with torch.no_grad():
        plain = network(noisy, by_token, text, return_dict=False)[0]
        hook = embedder.register_forward_pre_hook(lambda _, rows: embedded.append(rows[0].shape[0]))
        (ours,) = PromptedExpert(network, [text], batched=False).velocities(noisy, given, 1)
        hook.remove()
    assert float((ours - plain).abs().max()) <= TOLERANCE
    assert embedded == [32 if pinned else 16]


@pytest.mark.parametrize("variant", ["t2v", "i2v"])
def test_a_forward_equals_diffusers_own(variant: Variant, engine: Engine) -> None:
    network = engine(variant).model.transformer
    noisy = seeded(1, network.config.in_channels, 3, 6, 4)
    texts = [seeded(1, 512, 32), seeded(1, 512, 32) * 0.5]
    t = torch.tensor([937])
    with torch.no_grad():
        plain = [network(noisy, t, text, return_dict=False)[0] for text in texts]
        ours = PromptedExpert(network, texts, batched=False).velocities(noisy, Timesteps(values=t), 2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, plain, strict=True))


def test_rotary_tables_and_prompts_are_worked_out_once_for_each_expert(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    model = engine("t2v").model
    for name, part in (("rope", "rope"), ("text", "condition_embedder.text_embedder")):
        for network in (model.transformer, model.transformer_2):
            assert network is not None
            module: Any = network.get_submodule(part)
            monkeypatch.setattr(module, "forward", _noting(calls, name, module.forward))
    engine("t2v").run(JOB)
    assert sorted(calls) == ["rope"] * 2 + ["text"] * 4


def _noting(calls: list[str], name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*args: Any) -> Any:
        calls.append(name)
        return forward(*args)

    return noting
