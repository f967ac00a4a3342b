"""Training reads prompts as the engine does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from adapters.wan_local.engine import WanEngine
from adapters.wan_local.engine.official import NEGATIVE_PROMPT
from adapters.wan_local.engine.text import MAX_TOKENS, encode_prompt
from adapters.wan_local.tiny import Variant
from adapters.wan_local.training.captions import words
from adapters.wan_local.training.text import Prompts, make_tokenizer, pad_by_weight

CAPTIONS = ["a red circle moving right on a black background", "", "two stars"]


def test_case_and_punctuation_do_not_count() -> None:
    tokenizer = make_tokenizer(words())
    assert (
        tokenizer("A Red CIRCLE, moving: right!")["input_ids"]
        == tokenizer("a red circle moving right")["input_ids"]
    )


def test_an_unknown_word_is_one_token() -> None:
    tokenizer = make_tokenizer(words())
    read = tokenizer.convert_ids_to_tokens(tokenizer("a shiny red circle")["input_ids"])
    assert read == ["a", "<unk>", "red", "circle", "</s>"]
    assert tokenizer("")["input_ids"] == [tokenizer.eos_token_id]
    assert len(tokenizer(NEGATIVE_PROMPT)["input_ids"]) == 2


def test_it_reads_prompts_as_the_engine_does(engine: Callable[[Variant], WanEngine]) -> None:
    model = engine("t2v").model
    prompts = Prompts(model.tokenizer, model.text_encoder)
    with torch.no_grad():
        found = prompts(CAPTIONS)
        expected = torch.cat([encode_prompt(model, caption).embeds for caption in CAPTIONS])
    assert found.shape[1] < MAX_TOKENS
    assert not found[:, -1].any()
    torch.testing.assert_close(found, expected[:, : found.shape[1]].float(), rtol=1e-4, atol=1e-4)
    assert not expected[:, found.shape[1] :].any()


def test_padding_by_weight_is_padding(engine: Callable[[Variant], WanEngine]) -> None:
    transformer = copy.deepcopy(engine("t2v").model.transformer).float()
    torch.manual_seed(0)
    noisy, text = torch.randn(2, 16, 2, 4, 4), torch.randn(2, 32, transformer.config.text_dim)
    text[:, 20:] = 0
    whole = torch.nn.functional.pad(text, (0, 0, 0, MAX_TOKENS - 32))
    t = torch.tensor([900.0, 300.0])
    with torch.no_grad():
        expected = transformer(noisy, t, whole).sample
        short = transformer(noisy, t, text).sample
        pad_by_weight(transformer)
        found = transformer(noisy, t, text).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (short - expected).abs().max() > 1e-3
