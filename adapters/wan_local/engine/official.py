"""The numbers the Wan 2.2 authors sample with.

Source: Wan-Video/Wan2.2 @42bf4cf, wan/configs/{shared_config,wan_t2v_A14B,wan_i2v_A14B,wan_ti2v_5B}.py. The
guidance tuples there are (low, high). The diffusers folders say flow_shift 3.0 for both A14B models, which
splits the steps between the experts differently (13/27 instead of 26/14 for T2V) and does not give the
authors' results.

The distilled row is LightX2V's published recipe (configs/distill/wan22/*): Euler at sigma 1, 3/4, 2/4, 1/4,
shift 5, no guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Family = Literal["t2v", "i2v", "ti2v"]
Sampler = Literal["unipc", "euler"]
Speed = Literal["exact", "distilled"]
Expert = Literal["high", "low"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample. ``shift`` bends the noise schedule towards high noise; 1 leaves it straight.

    ``guidance_low`` is for the second expert and unused where there is none. Guidance 1 means none.
    """

    sampler: Sampler
    steps: int
    shift: float
    guidance_high: float
    guidance_low: float

    def guidance(self, expert: Expert) -> float:
        """Guidance of ``expert``."""
        return self.guidance_high if expert == "high" else self.guidance_low


@dataclass(frozen=True, kw_only=True)
class Official:
    """One family's defaults. The boundary between the experts, 0.875 and 0.900, is the folder's own."""

    sampling: Sampling
    width: int
    height: int
    fps: int
    frames: int


OFFICIAL: Mapping[Family, Official] = MappingProxyType(
    {
        "t2v": Official(
            sampling=Sampling(sampler="unipc", steps=40, shift=12.0, guidance_high=4.0, guidance_low=3.0),
            width=832,
            height=480,
            fps=16,
            frames=81,
        ),
        "i2v": Official(
            sampling=Sampling(sampler="unipc", steps=40, shift=5.0, guidance_high=3.5, guidance_low=3.5),
            width=832,
            height=480,
            fps=16,
            frames=81,
        ),
        "ti2v": Official(
            sampling=Sampling(sampler="unipc", steps=50, shift=5.0, guidance_high=5.0, guidance_low=5.0),
            width=1280,
            height=704,
            fps=24,
            frames=121,
        ),
    }
)

DISTILLED = Sampling(sampler="euler", steps=4, shift=5.0, guidance_high=1.0, guidance_low=1.0)

# shared_config.sample_neg_prompt. The models were tuned with it; an empty one gives visibly different clips.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


def seconds_to_frames(seconds: float, fps: float) -> int:
    """The frame count 4n+1 nearest to ``seconds`` at ``fps``: 5 s at 16 fps is 81 frames."""
    return 4 * round(seconds * fps / 4) + 1
