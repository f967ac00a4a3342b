"""An adapter's own words, read strictly: the caller's options and the operator's settings section."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gateway.spec import BadRequest, Job, PluginContext

Model = TypeVar("Model", bound=BaseModel)


def read_options(job: Job, model: type[Model]) -> Model:
    """The caller's options for this job's adapter, as ``model``.

    Raises:
        BadRequest: an option is unknown or wrong; the message names it.
    """
    adapter = job.offer.adapter
    try:
        return model.model_validate(job.options())
    except ValidationError as error:
        problems = _problems(error, f"options.{adapter}")
        raise BadRequest(f"{problems}.") from None


def read_settings(context: PluginContext, name: str, model: type[Model]) -> Model:
    """The operator's section ``name``, as ``model``.

    Raises:
        ValueError: a setting is unknown, missing or wrong; the message names it and never shows a value,
            because the value may be a secret.
    """
    try:
        return model.model_validate(context.section(name))
    except ValidationError as error:
        raise ValueError(_problems(error, name)) from None


def _problems(error: ValidationError, prefix: str) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join([prefix, *map(str, one['loc'])])}: {one['msg']}" for one in found)
