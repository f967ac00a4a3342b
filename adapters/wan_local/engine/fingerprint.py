"""What a job's numbers depend on: two runs of one fingerprint take the same steps.

In it: the weights (the folder's manifest), the LoRAs, the job, the schedule, dtype, kind of device, attention
backend, how guidance is computed, and the versions of what computes. Not in it: which device of its kind, and
how many threads, which move a result by rounding only.
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
from adapters.wan_local.engine.lora import digest
from adapters.wan_local.engine.model import WanModel
from adapters.wan_local.engine.schedule import Schedule, describe


def fingerprint(model: WanModel, job: SettledJob, schedule: Schedule, *, batched: bool) -> dict[str, str]:
    """Short texts by name; prompts, pictures and what is long as sha256 in hex."""
    return {
        "weights": model.digest,
        "prompt": _digest(job.prompt),
        "negative prompt": _digest(job.negative_prompt),
        "image": _picture(job.image),
        "last image": _picture(job.last_image),
        "size": f"{job.width}x{job.height}, {job.frames} frames",
        "seed": str(job.seed),
        "guidance": f"{job.sampling.guidance_high} and {job.sampling.guidance_low}",
        "schedule": _digest(describe(schedule)),
        "speed": job.speed,
        "loras": digest(job.loras),
        "dtype": str(model.transformer.dtype).removeprefix("torch."),
        "device": model.device.type,
        "attention": _attention(model),
        "halves of guidance": "batched" if batched else "in turn",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _picture(image: Image | None) -> str:
    if image is None:
        return "none"
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()


def _attention(model: WanModel) -> str:
    """The backend that the experts were told to use, else the process's."""
    told = model.transformer.blocks[0].attn1.processor._attention_backend
    active, _ = _AttentionBackendRegistry.get_active_backend()
    return str((told or active).value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
