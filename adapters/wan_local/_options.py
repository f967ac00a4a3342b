"""The numbers to sample with: what a preset sets, and what of it a caller may move."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from gateway.kit.options import read_options
from gateway.spec import BadRequest, Job, RenderError, Value


class CallerOptions(Value):
    """A caller's ``options.wan_local``. ``steps`` may go up to the preset's own: the price is for those."""

    steps: int | None = Field(default=None, ge=1)
    guidance_high: float | None = Field(default=None, ge=1, le=20)
    guidance_low: float | None = Field(default=None, ge=1, le=20)
    shift: float | None = Field(default=None, ge=0.5, le=30)


class PresetParams(Value):
    """A preset's ``params`` on a card; what is left out is the engine's official or distilled default."""

    steps: int | None = Field(default=None, ge=1)
    sampler: Literal["unipc", "euler"] | None = None
    guidance_high: float | None = Field(default=None, ge=1)
    guidance_low: float | None = Field(default=None, ge=1)
    shift: float | None = Field(default=None, gt=0)
    preview_steps: int | None = Field(
        default=None, ge=1, description="take only so many of the steps and show what they promise"
    )


def read_sampling(job: Job, *, usual_steps: int) -> PresetParams:
    """The preset's numbers with the caller's in their place; steps are always filled in.

    Args:
        usual_steps: of a preset that does not say.

    Raises:
        BadRequest: an option is unknown, out of range, or not for this preset.
        RenderError: the card's params are wrong, which is the operator's to mend.
    """
    options = read_options(job, CallerOptions)
    try:
        params = PresetParams.model_validate(job.preset.params)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise RenderError(
            "This preset is set up wrongly on the gateway: its operator has to mend it.",
            operator_detail=f"{job.offer.id}, preset {job.preset.name}: unknown or wrong params {fields}",
        ) from None
    most = params.steps or usual_steps
    if options.steps is not None and options.steps > most:
        raise _refusal("steps", f"at most {most}, the steps that the price of {job.preset.name} is made of")
    if job.preset.fast and (options.guidance_high is not None or options.guidance_low is not None):
        raise _refusal("guidance_high, guidance_low", f"{job.preset.name} runs without guidance")
    return params.model_copy(update={"steps": most, **options.model_dump(exclude_none=True)})


def _refusal(names: str, reason: str) -> BadRequest:
    return BadRequest(f"options.wan_local, {names}: {reason}.")
