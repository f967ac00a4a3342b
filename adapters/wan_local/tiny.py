"""Complete Wan 2.2 folders with random weights, small enough for one CPU thread.

A folder written here has every file a real diffusers Wan 2.2 folder has (config, tokenizer, scheduler,
safetensors weights, the expert boundary), so it goes through exactly the code a 57 GB folder goes through;
only the picture is noise. It is what the tests, the demo and a first try of the gateway run on: no network,
about half a megabyte.

Dimensions follow the tiny configurations of diffusers' own tests (tests/pipelines/wan/test_wan_22*.py
@58eb52c).

Importing this module does not import torch: the plugin module may import it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

Variant = Literal["t2v", "i2v", "ti2v"]

SPECIAL = _PAD, _END, UNKNOWN = "<pad>", "</s>", "<unk>"
_TEXT_DIM = 32
_PROMPT_WEIGHT = 30.0
_CONTRAST = {"t2v": 3.0, "i2v": 3.0, "ti2v": 1.0}
_BOUNDARY: dict[str, float | None] = {"t2v": 0.875, "i2v": 0.9, "ti2v": None}
_PIPELINE = {"t2v": "WanPipeline", "i2v": "WanImageToVideoPipeline", "ti2v": "WanPipeline"}
# The I2V transformer reads 16 noisy channels, a 4-channel mask and 16 channels of the encoded image.
_CHANNELS = {"t2v": (16, 16), "i2v": (36, 16), "ti2v": (48, 48)}


def write_tiny(folder: Path, variant: Variant, seed: int = 0) -> None:
    """Write a random-weight Wan 2.2 folder.

    The folder appears complete or not at all: it is built beside its destination and renamed.

    Args:
        folder: where to write; its parent is created. It must not exist, or be an empty folder.
        variant: ``t2v`` and ``i2v`` have two experts and a boundary (0.875, 0.900), like the A14B models;
            ``ti2v`` has one transformer, per-token timesteps and the 16x VAE, like TI2V-5B.
        seed: the same seed gives the same weights. The two experts always differ from each other.

    Raises:
        FileExistsError: ``folder`` already has something in it.
        OSError: it cannot be written.
    """
    folder = Path(folder)
    from safetensors import SafetensorError

    from adapters.wan_local.engine.files import new_folder

    try:
        with new_folder(folder) as unfinished:
            _write(unfinished, variant, seed)
    except SafetensorError as error:  # what it makes of a full disk
        raise OSError(str(error)) from error


def _write(folder: Path, variant: Variant, seed: int) -> None:
    import torch

    # Model constructors draw from the global generator; the caller's stream must not move.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _tokenizer().save_pretrained(folder / "tokenizer")
        _text_encoder().save_pretrained(folder / "text_encoder")
        _vae(variant).save_pretrained(folder / "vae")
        for name in _experts(variant):
            _transformer(variant).save_pretrained(folder / name)
    write_index(folder, variant)


def write_index(folder: Path, variant: Variant) -> None:
    """Write what a folder says of itself as a whole: ``model_index.json``, and the scheduler's part.

    Raises:
        OSError: they cannot be written.
    """
    from diffusers import UniPCMultistepScheduler

    # flow_shift 3.0 is what the published A14B folders say, and what the engine has to override.
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
    ).save_pretrained(folder / "scheduler")
    index = json.dumps(_model_index(variant), indent=2)
    (folder / "model_index.json").write_text(index + "\n", encoding="utf-8")


def _experts(variant: Variant) -> tuple[str, ...]:
    return ("transformer",) if _BOUNDARY[variant] is None else ("transformer", "transformer_2")


def _model_index(variant: Variant) -> dict[str, Any]:
    both = len(_experts(variant)) == 2
    transformer = ["diffusers", "WanTransformer3DModel"]
    return {
        "_class_name": _PIPELINE[variant],
        "_diffusers_version": "0.42.1",
        "boundary_ratio": _BOUNDARY[variant],
        "expand_timesteps": variant == "ti2v",
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": transformer,
        "transformer_2": transformer if both else [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models

    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    vocab = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNKNOWN, byte_fallback=True))
    tokenizer.decoder = decoders.ByteFallback()
    return ending_prompts(tokenizer)


def ending_prompts(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """``tokenizer``, which has the ``SPECIAL`` words, as the pipelines read it: one of them ends a prompt."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, tokenizer.token_to_id(_END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=UNKNOWN,
        model_max_length=512,
    )


def _text_encoder() -> UMT5EncoderModel:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=320, d_model=_TEXT_DIM, d_kv=8, d_ff=37, num_layers=2, num_heads=4, dropout_rate=0.0
        )
    )


def _transformer(variant: Variant) -> WanTransformer3DModel:
    import torch
    from diffusers import WanTransformer3DModel

    taken, given = _CHANNELS[variant]
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=taken,
        out_channels=given,
        text_dim=_TEXT_DIM,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=1024,
    )
    # As initialised, the prompt hardly moves the picture; two prompts should give two clips.
    with torch.no_grad():
        for block in transformer.blocks:
            block.attn2.to_out[0].weight.mul_(_PROMPT_WEIGHT)
    return transformer


def _vae(variant: Variant) -> AutoencoderKLWan:
    import torch
    from diffusers import AutoencoderKLWan

    shape: dict[str, Any] = {
        "base_dim": 3,
        "z_dim": 16,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
    }
    if variant == "ti2v":
        shape |= {
            "z_dim": 48,
            "in_channels": 12,
            "out_channels": 12,
            "is_residual": True,
            "patch_size": 2,
            "scale_factor_spatial": 16,
            "latents_mean": [0.0] * 48,
            "latents_std": [1.0] * 48,
        }
    vae = AutoencoderKLWan(**shape)
    # Random decoders give nearly grey pictures; a demo's thumbnail should show something.
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(_CONTRAST[variant])
    return vae
