"""Every way a folder can be bad: each gets a message of its own, before a byte of weights is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

from adapters.wan_local.engine import FolderError, WanEngine
from adapters.wan_local.engine import model as model_module
from adapters.wan_local.tiny import Variant

Tiny = Callable[[Variant], Path]
Damage = Callable[[Path], None]
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


def edit(file: str, **change: Any) -> Damage:
    """Changes keys of a JSON file."""

    def damage(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return damage


def tensors(part: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    """Changes the weights of a part."""

    def damage(folder: Path) -> None:
        file = folder / part / (WEIGHTS if part != "text_encoder" else "model.safetensors")
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata={"format": "pt"})

    return damage


def write(file: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / file).write_bytes(data)

    return damage


def remove(name: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def truncate(file: str) -> Damage:
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size - 100)


def link_out(file: str) -> Damage:
    """Moves a file out of the folder, and links to it."""

    def damage(folder: Path) -> None:
        outside = folder.parent / "outside"
        shutil.move(folder / file, outside)
        (folder / file).symlink_to(outside)

    return damage


def link_a_folder(folder: Path) -> None:
    shutil.rmtree(folder / "transformer_2")
    (folder / "transformer_2").symlink_to(folder / "transformer")


def link_to_nothing(folder: Path) -> None:
    (folder / "vae" / "config.json").rename(folder / "vae" / "kept.json")
    (folder / "vae" / "extra.json").symlink_to(folder / "vae" / "gone.json")


def make_huge(folder: Path) -> None:
    os.truncate(folder / "tokenizer" / "tokenizer.json", 65 * 2**20)


def another_transformer(part: str, **change: Any) -> Damage:
    """A whole transformer, of another size."""

    def damage(folder: Path) -> None:
        config = WanTransformer3DModel.load_config(folder / "transformer")
        shutil.rmtree(folder / part)
        WanTransformer3DModel.from_config(config | change).save_pretrained(folder / part)

    return damage


def another_text_encoder(**change: Any) -> Damage:
    def damage(folder: Path) -> None:
        config = UMT5Config.from_pretrained(folder / "text_encoder")
        config.update(change)
        shutil.rmtree(folder / "text_encoder")
        UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")

    return damage


def another_vae(folder: Path) -> None:
    config = AutoencoderKLWan.load_config(folder / "vae")
    shutil.rmtree(folder / "vae")
    change = {"z_dim": 8, "latents_mean": [0.0] * 8, "latents_std": [1.0] * 8}
    AutoencoderKLWan.from_config(config | change).save_pretrained(folder / "vae")


def shard(damage: Damage) -> Damage:
    """Splits the second transformer's weights into shards, and then damages them."""

    def split_and_damage(folder: Path) -> None:
        transformer = WanTransformer3DModel.from_pretrained(folder / "transformer_2")
        (folder / "transformer_2" / WEIGHTS).unlink()
        transformer.save_pretrained(folder / "transformer_2", max_shard_size="40KB")
        damage(folder)

    return split_and_damage


def misplace(folder: Path) -> None:
    index = folder / "transformer_2" / INDEX
    content = json.loads(index.read_text())
    content["weight_map"]["proj_out.bias"] = min(content["weight_map"].values())
    index.write_text(json.dumps(content))


def store_twice(folder: Path) -> None:
    first, second = sorted((folder / "transformer_2").glob("*-of-*.safetensors"))[:2]
    save_file(load_file(second) | {"proj_out.bias": torch.zeros(64)}, second)
    save_file(load_file(first) | {"proj_out.bias": torch.zeros(64)}, first)


SHARD = "DIR/transformer_2/diffusion_pytorch_model-0000"
AGAIN = "download the folder again"
FORMAT = "give a Wan 2.2 folder in diffusers format"
FFN = "blocks.0.ffn.net.0.proj.weight"

BAD: dict[str, tuple[Damage, str]] = {
    "no index": (
        remove("model_index.json"),
        f"DIR/model_index.json is missing: give a folder in diffusers format, or {AGAIN}",
    ),
    "index is no JSON": (write("model_index.json", "{"), "DIR/model_index.json cannot be read (Expecting "),
    "JSON nested without end": (
        write("vae/config.json", '{"a":' * 100_000),
        "DIR/vae/config.json cannot be read (",
    ),
    "JSON too large": (
        make_huge,
        "DIR/tokenizer/tokenizer.json has 68157440 bytes, and no file of this kind is so large: " + AGAIN,
    ),
    "pickle": (
        write("vae/extra.pkl", b""),
        "DIR/vae/extra.pkl can run code when loaded: remove it; only safetensors are read",
    ),
    "python file": (
        write("modeling_wan.py", "import os"),
        "DIR/modeling_wan.py can run code when loaded: remove it; only safetensors are read",
    ),
    "file of another kind": (
        write("vae/extra.gguf", b""),
        "DIR/vae/extra.gguf is no file of a model: remove it; .json, .safetensors, .txt, .model are read",
    ),
    "link out of the folder": (
        link_out(f"vae/{WEIGHTS}"),
        f"DIR/vae/{WEIGHTS} is a link out of the folder, to OUT/outside: put the file itself there",
    ),
    "linked folder": (
        link_a_folder,
        "DIR/transformer_2 is a link to a folder: put the folder itself there",
    ),
    "link to nothing": (
        link_to_nothing,
        f"DIR/vae/extra.json is a link to DIR/vae/gone.json, which is missing: {AGAIN}",
    ),
    "named pipe": (
        lambda folder: os.mkfifo(folder / "transformer" / "pipe.json"),
        f"DIR/transformer/pipe.json is not a regular file: remove it, or {AGAIN}",
    ),
    "another pipeline": (
        edit("model_index.json", _class_name="MochiPipeline"),
        f"DIR/model_index.json is for MochiPipeline, not WanPipeline or WanImageToVideoPipeline: {FORMAT}",
    ),
    "class of somebody's own": (
        edit("model_index.json", transformer=["my_code", "Evil"]),
        f"DIR/model_index.json gives Evil as transformer, not WanTransformer3DModel: {FORMAT}",
    ),
    "class of another network": (
        edit("vae/config.json", _class_name="AutoencoderKL"),
        f"DIR/vae/config.json gives AutoencoderKL as vae, not AutoencoderKLWan: {FORMAT}",
    ),
    "Wan 2.1 image model": (
        edit("transformer/config.json", image_dim=1280),
        "DIR/transformer needs a CLIP image encoder (Wan 2.1): give a Wan 2.2 folder",
    ),
    "second expert missing": (
        remove("transformer_2"),
        f"DIR/transformer_2/config.json is missing: give a folder in diffusers format, or {AGAIN}",
    ),
    "second expert not named": (
        edit("model_index.json", transformer_2=[None, None]),
        f"DIR/model_index.json gives None as transformer_2, not WanTransformer3DModel: {FORMAT}",
    ),
    "second expert without boundary": (
        edit("model_index.json", boundary_ratio=None),
        f"DIR/model_index.json names a transformer_2 and no boundary_ratio: {AGAIN}",
    ),
    "boundary in steps": (
        edit("model_index.json", boundary_ratio=875),
        f"DIR/model_index.json gives 875 as boundary_ratio, not a number between 0 and 1: {AGAIN}",
    ),
    "weights missing": (
        remove(f"transformer_2/{WEIGHTS}"),
        f"DIR/transformer_2/{WEIGHTS} is missing: {AGAIN}",
    ),
    "weights cut short": (truncate(f"vae/{WEIGHTS}"), f"DIR/vae/{WEIGHTS} is damaged ("),
    "weights that are no safetensors": (
        write(f"vae/{WEIGHTS}", b"\x80\x04 a pickle, renamed"),
        f"DIR/vae/{WEIGHTS} is damaged (",
    ),
    "shard missing": (
        shard(lambda folder: sorted((folder / "transformer_2").glob("*-of-*"))[1].unlink()),
        f"{SHARD}2-of-00003.safetensors is missing: {AGAIN}",
    ),
    "shard cut short": (
        shard(truncate("transformer_2/diffusion_pytorch_model-00003-of-00003.safetensors")),
        f"{SHARD}3-of-00003.safetensors is damaged (",
    ),
    "index points outside": (
        write(f"vae/{INDEX}", json.dumps({"weight_map": {"a": "../../outside.safetensors"}})),
        f"DIR/vae/{INDEX} has no usable weight_map: {AGAIN}",
    ),
    "index names the wrong shard": (
        shard(misplace),
        f"DIR/transformer_2/{INDEX} says that diffusion_pytorch_model-00001-of-00003.safetensors holds "
        f"proj_out.bias, and it does not: {AGAIN}",
    ),
    "weight in two shards": (
        shard(store_twice),
        f"{SHARD}2-of-00003.safetensors and {SHARD}1-of-00003.safetensors both hold proj_out.bias: {AGAIN}",
    ),
    "weights of another shape": (
        edit("transformer/config.json", ffn_dim=48),
        f"DIR/transformer/{WEIGHTS} holds {FFN} as [32, 24], and config.json says [48, 24]: {AGAIN}",
    ),
    "one weight of another shape": (
        tensors("transformer_2", lambda all: all.update({FFN: torch.zeros(24, 32)})),
        f"DIR/transformer_2/{WEIGHTS} holds {FFN} as [24, 32], and config.json says [32, 24]: {AGAIN}",
    ),
    "a weight missing": (
        tensors("transformer", lambda all: all.pop(FFN)),
        f"DIR/transformer lacks 1 of its weights, such as {FFN}: {AGAIN}",
    ),
    "a weight too many": (
        tensors("text_encoder", lambda all: all.update(lm_head=torch.zeros(2))),
        "DIR/text_encoder holds weights that its config.json has no place for, such as lm_head (1 in all): "
        + AGAIN,
    ),
    "integer weights": (
        tensors("transformer", lambda all: all.update({FFN: torch.zeros(32, 24, dtype=torch.int8)})),
        f"DIR/transformer/{WEIGHTS} holds {FFN} as I8, and only F64, F32, F16, BF16, F8_E4M3 are read: "
        "give a folder that is not quantised",
    ),
    "float8 without scales": (
        tensors("transformer", lambda all: all.update({FFN: all[FFN].to(torch.float8_e4m3fn)})),
        f"DIR/transformer/{WEIGHTS} holds {FFN} as float8 without a scale for each row: "
        "give a folder that `reelgate wan repack` wrote, or one that is not quantised",
    ),
    "config of no network": (
        edit("transformer/config.json", num_layers="many"),
        "DIR/transformer/config.json describes no network (",
    ),
    "experts of two shapes": (
        another_transformer("transformer_2", ffn_dim=48),
        "DIR/transformer_2/config.json has ffn_dim 48, and DIR/transformer/config.json 32: "
        f"the two experts must be alike; {AGAIN}",
    ),
    "experts that differ in heads alone": (
        another_transformer("transformer_2", num_attention_heads=1, attention_head_dim=24),
        "DIR/transformer_2/config.json has num_attention_heads 1, and DIR/transformer/config.json 2: "
        f"the two experts must be alike; {AGAIN}",
    ),
    "text encoder too narrow": (
        another_text_encoder(d_model=16),
        "DIR/text_encoder/config.json has a d_model of 16, and DIR/transformer/config.json a text_dim of 32: "
        + AGAIN,
    ),
    "VAE with other channels": (
        another_vae,
        "DIR/transformer/config.json has 16 in_channels, and the VAE's z_dim of 8 needs 8: " + AGAIN,
    ),
    "tokenizer that does not load": (
        write("tokenizer/tokenizer.json", "{}"),
        "DIR/tokenizer does not load (",
    ),
    "tokenizer with too many tokens": (
        another_text_encoder(vocab_size=200),
        "DIR/tokenizer has token ids up to 258, and DIR/text_encoder/config.json has a vocab_size of 200: "
        + AGAIN,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_before_its_weights_are_read(
    case: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: Any) -> Any:
        pytest.fail("the files are being read")

    monkeypatch.setattr(model_module, "pin", too_late)
    monkeypatch.setattr(model_module, "fill", too_late)
    folder = tmp_path / "model"
    shutil.copytree(tiny("t2v"), folder, ignore=shutil.ignore_patterns("reelgate-*"))
    damage, says = BAD[case]
    damage(folder)
    with pytest.raises(FolderError) as caught:
        WanEngine.load(folder)
    message = str(caught.value).replace(str(folder), "DIR").replace(str(tmp_path), "OUT")
    print(f"{case}\t{message}")
    assert message.startswith(says)
