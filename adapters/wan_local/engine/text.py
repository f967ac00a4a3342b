"""Prompts to embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from diffusers.pipelines.wan.pipeline_wan import prompt_clean

from adapters.wan_local.engine.model import WanModel

MAX_TOKENS = 512
_PAD_TO = 64


@dataclass(frozen=True, kw_only=True)
class EncodedPrompt:
    """``embeds`` is [1, 512, D] in the transformers' dtype, zero after the prompt's end.

    ``tokens`` counts the whole prompt with its end mark, ``dropped`` how many of them did not fit.
    """

    embeds: torch.Tensor
    tokens: int
    dropped: int


def encode_prompt(model: WanModel, text: str) -> EncodedPrompt:
    """Clean, tokenise and encode ``text``, as WanPipeline does.

    WanPipeline encodes 512 tokens, masks the padding and puts zeros where it was. A prompt has some dozens:
    with its padding cut to the next multiple of 64 the same comes out for a fraction of the work. (With no
    padding at all, too, but for the last bit: matrices of another shape are multiplied in another order.)
    """
    cleaned = prompt_clean(text)
    tokens = len(model.tokenizer(cleaned, verbose=False)["input_ids"])
    padded = model.tokenizer(
        cleaned,
        padding=True,
        pad_to_multiple_of=_PAD_TO,
        max_length=MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    ids, mask = padded["input_ids"].to(model.device), padded["attention_mask"].to(model.device)
    hidden = model.text_encoder(ids, mask).last_hidden_state
    # The padding's hidden states are not zero; the transformers were trained on zeros.
    read = hidden.masked_fill(mask.unsqueeze(-1) == 0, 0)
    embeds = functional.pad(read, (0, 0, 0, MAX_TOKENS - ids.shape[1]))
    return EncodedPrompt(
        embeds=embeds.to(model.transformer.dtype), tokens=tokens, dropped=max(tokens - MAX_TOKENS, 0)
    )
