"""What a job's numbers depend on: two runs of one fingerprint take the same steps.

In it: the weights (the folder's manifest), the job, the schedule, dtype, kind of device, attention backend,
how guidance is computed, and the versions of what computes. Not in it: which device of its kind, and how many
threads, which move a result by rounding only.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from PIL.Image import Image

from adapters.wan_local.engine.job import SettledJob
from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.schedule import Schedule, describe


def fingerprint(model: WanModel, job: SettledJob, schedule: Schedule, *, batched: bool) -> dict[str, str]:
    """Short texts by name; digests are sha256 in hex."""
    return {
        "weights": model.digest,
        "job": _digest(_job(job)),
        "schedule": _digest(describe(schedule)),
        "speed": job.speed,
        "dtype": str(model.transformer.dtype).removeprefix("torch."),
        "device": model.device.type,
        "attention": _attention(model),
        "guidance": "batched" if batched else "in turn",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _job(job: SettledJob) -> dict[str, Any]:
    return {
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "image": _picture(job.image),
        "last_image": _picture(job.last_image),
        "size": [job.width, job.height, job.frames],
        "seed": job.seed,
        "guidance": [job.sampling.guidance_high, job.sampling.guidance_low],
    }


def _picture(image: Image | None) -> str | None:
    if image is None:
        return None
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()


def _attention(model: WanModel) -> str:
    """The backend that the experts were told to use, else the process's."""
    told = model.transformer.blocks[0].attn1.processor._attention_backend
    active, _ = _AttentionBackendRegistry.get_active_backend()
    return str((told or active).value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
