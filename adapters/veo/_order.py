"""A job, in Veo's words."""

from __future__ import annotations

import base64
from typing import Any

from adapters.veo._settings import Account, Surface, VeoOptions
from adapters.veo._wire import FRAMES, Instance, Order, Parameters, Picture, Reference
from gateway.spec import InputImage, Job, Unsupported

_UNHARMED = "nothing was created or charged"


def order_of(job: Job, options: VeoOptions, account: Account, surface: Surface) -> Order:
    """What to send for this job.

    Raises:
        Unsupported: Veo makes no such clip, or this surface does not take an option.
    """
    resolution, aspect_ratio = _frame(job)
    _check_images(job)
    parameters = Parameters.model_validate(
        {
            "aspect_ratio": aspect_ratio,
            "resolution": resolution,
            "duration_seconds": _seconds(job, resolution),
            "negative_prompt": job.request.negative_prompt,
            "person_generation": options.person_generation,
            **_of_surface(job, options, account, surface),
        }
    )
    references = tuple(
        Reference(image=_picture(job, image)) for image in job.request.images if image.role == "reference"
    )
    first, last = job.request.image("first_frame"), job.request.image("last_frame")
    instance = Instance(
        prompt=job.request.prompt,
        image=_picture(job, first) if first else None,
        last_frame=_picture(job, last) if last else None,
        reference_images=references or None,
    )
    labels = {"reelgate_attempt": job.tag} if surface == "vertex" else None
    return Order(instances=(instance,), parameters=parameters, labels=labels)


def _frame(job: Job) -> tuple[str, str]:
    frame = FRAMES.get(job.output.size)
    if frame is None:
        raise Unsupported(f"Google Veo makes {', '.join(FRAMES)}, not {job.output.size}; {_UNHARMED}.")
    return frame


def _check_images(job: Job) -> None:
    """What goes together, as google-genai 3.3.0 says of both surfaces (GenerateVideosConfig)."""
    roles = {image.role for image in job.request.images}
    if "reference" in roles and len(roles) > 1:
        raise Unsupported(f"Google Veo takes no first or last frame beside references; {_UNHARMED}.")
    if roles == {"last_frame"}:
        raise Unsupported(f"Google Veo takes a last frame beside a first one only; {_UNHARMED}.")


def _seconds(job: Job, resolution: str) -> int:
    """Whole seconds. Documented for the Gemini API, and held to on Vertex AI, too."""
    seconds = job.output.seconds
    if seconds not in (4, 6, 8):
        raise Unsupported(f"Google Veo makes 4, 6 or 8 s, not {seconds:f} s; {_UNHARMED}.")
    references = any(image.role == "reference" for image in job.request.images)
    if seconds != 8 and (resolution != "720p" or references):
        what = "clips with reference images" if references else resolution
        raise Unsupported(
            f"Google Veo makes {what} of 8 s only, not of {seconds:f} s; {_UNHARMED}. Ask for 8 s."
        )
    return int(seconds)


def _of_surface(job: Job, options: VeoOptions, account: Account, surface: Surface) -> dict[str, Any]:
    """What only Vertex AI takes. The Gemini API refuses it, and its clips have sound always."""
    if surface == "vertex":
        return {
            "generate_audio": job.output.audio,
            "seed": job.request.seed,
            "enhance_prompt": options.enhance_prompt,
            "resize_mode": options.resize_mode and options.resize_mode.upper(),
            "storage_uri": account.storage_uri and f"{account.storage_uri}{job.tag}/",
        }
    given = [name for name in ("enhance_prompt", "resize_mode") if getattr(options, name) is not None]
    if given:
        raise Unsupported(f"The Gemini API takes no {' and no '.join(given)} for Veo; {_UNHARMED}.")
    return {}


def _picture(job: Job, image: InputImage) -> Picture:
    data = job.read_image(image)
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return Picture(bytes_base64_encoded=base64.b64encode(data).decode(), mime_type=kind)
