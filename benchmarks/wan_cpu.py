"""The Wan engine beside diffusers' own pipelines: ``python -m benchmarks.wan_cpu [--pairs 12]``.

Both run the same folder of random weights on one CPU thread, with the same prompt, images and seed, in pairs
whose order alternates. The figures are for one denoising step, between the end of the first and the end of
the last, so that loading, text and images do not count. At these sizes a step is mostly overhead, which is
what is measured: what the engine adds to the networks' own work, or saves. Last, each in a process of its
own, how far memory rises while a clip is decoded at once and as a stream.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers.utils import logging as transformers_logging

from adapters.wan_local.engine import NEGATIVE_PROMPT, OFFICIAL, Step, WanEngine, WanJob
from adapters.wan_local.engine.control import Unwatched
from adapters.wan_local.engine.decode import decode_frames
from adapters.wan_local.tiny import Variant, write_tiny

PROMPT = "a paper boat on a quiet pond, seen from above"
DECODED = ((480, 320, 81), (480, 320, 161))
SMALL = {"num_attention_heads": 4, "attention_head_dim": 32, "ffn_dim": 512, "num_layers": 6}


@dataclass(frozen=True)
class Case:
    """``low`` is the low-noise expert's guidance; ``forwards`` are diffusers' and the engine's."""

    name: str
    variant: Variant
    size: tuple[int, int, int]
    small: bool = False
    image: bool = False
    low: float | None = None
    batched: bool = False


CASES = (
    Case("t2v, 40 steps", "t2v", (64, 64, 9)),
    Case("i2v, 40 steps", "i2v", (64, 64, 9), image=True),
    Case("ti2v, 50 steps", "ti2v", (128, 128, 9)),
    Case("ti2v from an image, 50 steps", "ti2v", (128, 128, 9), image=True),
    Case("i2v, low expert unguided", "i2v", (64, 64, 9), image=True, low=1.0),
    Case("t2v, 40 steps, batched", "t2v", (64, 64, 9), batched=True),
    Case("t2v, 6 layers of 128", "t2v", (128, 128, 17), small=True),
    Case("i2v, 6 layers of 128, low expert unguided", "i2v", (128, 128, 17), small=True, image=True, low=1.0),
    Case("t2v, 6 layers of 128, batched", "t2v", (128, 128, 17), small=True, batched=True),
)


class Clock:
    """Seconds a step, from the moments at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self) -> None:
        self.ends.append(time.perf_counter())

    def a_step(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


class Timed(Unwatched):
    """The engine's control that keeps the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def stepped(self, step: Step) -> None:
        self._clock.tick()


def make_folder(root: Path, case: Case) -> Path:
    """The folder of a case's model."""
    folder = root / f"{case.variant}{'-small' if case.small else ''}"
    if folder.exists():
        return folder
    write_tiny(folder, case.variant)
    if case.small:
        for name in ("transformer", "transformer_2"):
            config = dict(WanTransformer3DModel.load_config(folder / name)) | SMALL
            torch.manual_seed(len(name))
            WanTransformer3DModel.from_config(config).save_pretrained(folder / name)
    return folder


def stock(folder: Path, case: Case) -> Callable[[], float]:
    """Runs diffusers' pipeline once; seconds a step."""
    official = OFFICIAL[case.variant]
    index = json.loads((folder / "model_index.json").read_text())
    kind = WanImageToVideoPipeline if case.image else WanPipeline
    pipe = kind.from_pretrained(
        folder, boundary_ratio=index["boundary_ratio"], expand_timesteps=index["expand_timesteps"]
    )
    pipe.set_progress_bar_config(disable=True)
    width, height, frames = case.size
    sampling = official.sampling
    low = {} if index["boundary_ratio"] is None else {"guidance_scale_2": case.low or sampling.guidance_low}

    def run() -> float:
        clock = Clock()

        def ended(_pipe: Any, _index: int, _t: Any, kept: dict[str, Any]) -> dict[str, Any]:
            clock.tick()
            return kept

        pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=sampling.shift)
        pipe(
            prompt=PROMPT,
            negative_prompt=NEGATIVE_PROMPT,
            width=width,
            height=height,
            num_frames=frames,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_high,
            generator=torch.Generator().manual_seed(7),
            output_type="latent",
            callback_on_step_end=ended,
            **({"image": picture(case)} if case.image else {}),
            **low,
        )
        return clock.a_step()

    return run


def ours(folder: Path, case: Case) -> Callable[[], float]:
    """Runs the engine once; seconds a step."""
    engine = WanEngine.load(folder, batched_guidance=case.batched)
    width, height, frames = case.size
    job = WanJob(
        prompt=PROMPT,
        image=picture(case) if case.image else None,
        width=width,
        height=height,
        frames=frames,
        seed=7,
        guidance_low=case.low,
    )

    def run() -> float:
        clock = Clock()
        engine.run(job, Timed(clock))
        return clock.a_step()

    return run


def picture(case: Case) -> Image.Image:
    """A first frame."""
    return Image.linear_gradient("L").convert("RGB").resize(case.size[:2])


def forwards(case: Case, *, skips: bool) -> int:
    """Transformer forwards of a whole run; only the engine skips the unguided half."""
    split = {"t2v": (26, 14), "i2v": (15, 25), "ti2v": (50, 0)}[case.variant]
    return 2 * split[0] + (1 if skips and case.low == 1 else 2) * split[1]


def compare(root: Path, case: Case, pairs: int) -> dict[str, Any]:
    """So many pairs, whose order alternates."""
    folder = make_folder(root, case)
    sides = [("diffusers", stock(folder, case)), ("engine", ours(folder, case))]
    for _, run in sides:
        run()
    times: dict[str, list[float]] = {name: [] for name, _ in sides}
    for pair in range(pairs):
        for name, run in sides if pair % 2 else reversed(sides):
            times[name].append(run())
    ratios = [theirs / mine for theirs, mine in zip(times["diffusers"], times["engine"], strict=True)]
    return {
        "case": case.name,
        "size": "x".join(map(str, case.size)),
        "forwards": (forwards(case, skips=False), forwards(case, skips=True)),
        "ms_a_step": {
            name: [round(1000 * second, 3) for second in seconds] for name, seconds in times.items()
        },
        "ratio": median(ratios),
        "ratios": (min(ratios), max(ratios)),
    }


def decoding(how: str, size: tuple[int, int, int]) -> int:
    """Bytes by which this process's memory rises over what it held, while it decodes one clip."""
    width, height, frames = size
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=16, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    latents = torch.randn(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
    with torch.no_grad():
        vae.decode(latents[:, :, :1, :4, :4])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if how == "stream":
        taken = sum(1 for _ in decode_frames(vae, latents, Unwatched(), _Unrecorded()))  # type: ignore[arg-type]
    else:
        with torch.no_grad():
            pixels = vae.decode(latents, return_dict=False)[0]
        taken = len(((pixels[0].permute(1, 2, 3, 0) * 0.5 + 0.5).clamp(0, 1) * 255).round().byte().numpy())
    assert taken == frames
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


class _Unrecorded:
    """Stats that nobody reads."""

    def timed(self, stage: str) -> Any:
        return warnings.catch_warnings()


def memory(size: tuple[int, int, int]) -> dict[str, int]:
    """The rise of memory for both ways to decode, each in a process of its own.

    Its allocator gives every large block back at once: what is measured is in use, and not fragments.
    """
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    found = {}
    for how in ("at once", "stream"):
        this = [sys.executable, "-W", "ignore", "-m", "benchmarks.wan_cpu", "--decode", how]
        command = [*this, "--size", *map(str, size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found[how] = int(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--json", type=Path, help="write the raw figures there")
    parser.add_argument("--decode", choices=["at once", "stream"], help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.decode:
        print(decoding(given.decode, tuple(given.size)))
        return
    warnings.simplefilter("ignore")
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    versions = f"torch {torch.__version__}, diffusers {version('diffusers')}"
    print(f"{versions}, one thread, {given.pairs} pairs a case\n")
    print("| case | size | forwards | diffusers, ms a step | engine, ms a step | ratio (lowest to highest) |")
    print("|---|---|--:|--:|--:|--:|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            row = compare(Path(folder), case, given.pairs)
            rows.append(row)
            times = {name: median(found) for name, found in row["ms_a_step"].items()}
            print(
                f"| {row['case']} | {row['size']} | {row['forwards'][0]}, {row['forwards'][1]} "
                f"| {times['diffusers']:.2f} | {times['engine']:.2f} "
                f"| {row['ratio']:.2f} ({row['ratios'][0]:.2f} to {row['ratios'][1]:.2f}) |",
                flush=True,
            )
    rises = {}
    for size in DECODED:
        rises["x".join(map(str, size))] = rise = memory(size)
        print(
            f"\nDecoding {size[0]}x{size[1]}, {size[2]} frames, float32: memory rises by "
            f"{rise['at once'] / 2**20:.0f} MiB at once, {rise['stream'] / 2**20:.0f} MiB as a stream."
        )
    if given.json:
        given.json.write_text(json.dumps({"cases": rows, "decode_bytes": rises}, indent=1))


if __name__ == "__main__":
    main()
