"""A tokenizer made of the captions' words, a small text encoder, and prompts as the engine embeds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel
from typing_extensions import override

from adapters.wan_local.engine.text import MAX_TOKENS
from adapters.wan_local.tiny import SPECIAL, UNKNOWN, ending_prompts

_PAD_TO = 31  # and one is added: few lengths make few shapes to compile
_LONGEST = 16 * _PAD_TO


def make_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word; case, punctuation and whatever is not a latin letter do not count.

    A word it does not have is ``<unk>``.
    """
    vocab = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z]+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return ending_prompts(tokenizer)


def make_text_encoder(vocabulary: int, width: int) -> UMT5EncoderModel:
    """Two layers of ``width``."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config)


class Prompts:
    """Captions to embeddings [B, L, D]: zero after a prompt's end, the last of them in any case.

    The engine gives the transformers 512 of them. All beyond the longest prompt are alike, so one stands for
    them here; see :func:`pad_by_weight`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: UMT5EncoderModel) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder

    def __call__(self, captions: Sequence[str]) -> torch.Tensor:
        ids, mask = self.tokenise(captions)
        hidden = self.encoder(ids, mask).last_hidden_state
        hidden = hidden.masked_fill(mask.unsqueeze(-1) == 0, 0)
        return torch.nn.functional.pad(hidden, (0, 0, 0, 1))

    def tokenise(self, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token numbers and which of them count, both [B, L - 1]."""
        read = self.tokenizer(
            list(captions),
            padding=True,
            pad_to_multiple_of=_PAD_TO,
            truncation=True,
            max_length=_LONGEST,
            return_tensors="pt",
        )
        device = self.encoder.device
        return read["input_ids"].to(device), read["attention_mask"].to(device)


def pad_by_weight(transformer: WanTransformer3DModel) -> None:
    """Make the last text embedding count as often as it would be there, were there 512 of them.

    Attention to n equal keys is attention to one with log n added to its score: the same in exact arithmetic,
    and a short prompt costs what its words cost.
    """
    for block in transformer.blocks:
        block.attn2.set_processor(_PaddedText())


class _PaddedText(WanAttnProcessor):  # type: ignore[misc]  # diffusers has no types
    @override
    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: None = None,
        rotary_emb: Any = None,
    ) -> torch.Tensor:
        length = encoder_hidden_states.shape[1]
        score = attn.to_k.weight.new_zeros(1, 1, 1, length)
        score[..., -1] = math.log(MAX_TOKENS - length + 1)
        seen: torch.Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, score, rotary_emb)
        return seen
