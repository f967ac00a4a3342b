"""Prompts to embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.pipelines.wan.pipeline_wan import prompt_clean

from adapters.wan_local.engine.model import WanModel

MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """``embeds`` is [1, 512, D] in the transformers' dtype, zero after the prompt's end.

    ``tokens`` counts the whole prompt with its end mark, ``dropped`` how many of them did not fit.
    """

    embeds: torch.Tensor
    tokens: int
    dropped: int


def encode_prompt(model: WanModel, text: str) -> EncodedPrompt:
    """Clean, tokenise and encode ``text``, as WanPipeline does."""
    cleaned = prompt_clean(text)
    tokens = len(model.tokenizer(cleaned, verbose=False)["input_ids"])
    padded = model.tokenizer(
        cleaned, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    ids, mask = padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
    hidden = model.text_encoder(ids, mask).last_hidden_state
    # The padding's hidden states are not zero; the transformers were trained on zeros.
    embeds = hidden.masked_fill(mask.unsqueeze(-1) == 0, 0)
    return EncodedPrompt(
        embeds=embeds.to(model.transformer.dtype), tokens=tokens, dropped=max(tokens - MAX_TOKENS, 0)
    )
