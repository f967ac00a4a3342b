"""Wan 2.2 in this process: text, image and both to video, on one device.

    from adapters.wan_local.engine import WanEngine, WanJob

    engine = WanEngine.load("/models/Wan2.2-T2V-A14B-Diffusers", device="cuda", dtype="bfloat16")
    result = engine.run(WanJob(prompt="a cat on a beach", seed=7))
    for frame in result.frames:  # uint8 [480, 832, 3]
        ...

    part = engine.preview(WanJob(prompt="a cat on a beach", seed=7), steps=10)  # look at part.frames, then:
    result = engine.run(WanJob(prompt="a cat on a beach", seed=7), resume=part.checkpoint)

Needs torch, diffusers, transformers and pillow, and nothing of the gateway.
"""

from __future__ import annotations

import os

# diffusers reads it when imported. Nothing here loads remote code; this makes sure nothing can.
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"

from adapters.wan_local.engine.checkpoint import Checkpoint
from adapters.wan_local.engine.control import Control, Frame, Stage, Step
from adapters.wan_local.engine.engine import WanEngine, WanPreview, WanResult
from adapters.wan_local.engine.errors import (
    Cancelled,
    CheckpointDamaged,
    CheckpointMismatch,
    FolderError,
    OutOfMemory,
    UnsupportedJob,
    WanError,
)
from adapters.wan_local.engine.job import SettledJob, WanJob
from adapters.wan_local.engine.official import (
    DISTILLED,
    NEGATIVE_PROMPT,
    OFFICIAL,
    Family,
    Official,
    Sampler,
    Sampling,
    Speed,
    seconds_to_frames,
)
from adapters.wan_local.engine.stats import Stats

__all__ = [
    "DISTILLED",
    "NEGATIVE_PROMPT",
    "OFFICIAL",
    "Cancelled",
    "Checkpoint",
    "CheckpointDamaged",
    "CheckpointMismatch",
    "Control",
    "Family",
    "FolderError",
    "Frame",
    "Official",
    "OutOfMemory",
    "Sampler",
    "Sampling",
    "SettledJob",
    "Speed",
    "Stage",
    "Stats",
    "Step",
    "UnsupportedJob",
    "WanEngine",
    "WanError",
    "WanJob",
    "WanPreview",
    "WanResult",
    "seconds_to_frames",
]
