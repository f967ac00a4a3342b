"""What the OpenAPI document says of bodies: derived from the models that check them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from gateway.api.invalid import FIELDS, IMAGE_FIELDS
from gateway.api.video_object import Video
from gateway.api.wire import CONTINUE_FIELDS, FINALIZE_FIELDS, ImageFields
from gateway.spec import Plan, VideoRequest


class VideoList(BaseModel):
    """One page; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Lineage(BaseModel):
    """A preview and the finals made of it, oldest first."""

    object: Literal["video.lineage"] = "video.lineage"
    lineage_id: str
    data: list[Video]
    charge_usd: str


class FinalPlan(BaseModel):
    """What a final would keep of its preview, cost, and be made by; money as decimal strings."""

    object: Literal["video.final_plan"] = "video.final_plan"
    continuity: str
    preview_charge_usd: str
    estimate_usd: str | None
    difference_usd: str | None
    plan: Plan


class DeletedVideo(BaseModel):
    """The answer to a delete."""

    id: str
    deleted: Literal[True] = True
    object: Literal["video.deleted"] = "video.deleted"


class ErrorDetail(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorReply(BaseModel):
    """OpenAI's envelope; a 402 and a 422 carry the whole ``plan`` beside ``error``."""

    error: ErrorDetail


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with every ``$ref`` replaced by what it names."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}


def _create_schema() -> dict[str, Any]:
    request, images = VideoRequest.model_json_schema(), ImageFields.model_json_schema()
    plain = {name: request["properties"][name] for name in FIELDS if name not in IMAGE_FIELDS}
    pictures = _inlined(images["properties"], images["$defs"])
    return {
        "type": "object",
        "required": ["prompt"],
        "additionalProperties": False,
        "properties": {**plain, **pictures},
    }


def _as_form(schema: dict[str, Any]) -> dict[str, Any]:
    files = {name: {"type": "string", "format": "binary"} for name in ("input_reference", "last_frame")}
    return {**schema, "properties": {**schema["properties"], **files}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": _as_form(schema)}}
    return {"requestBody": {"required": True, "content": content}}


def _part_of_create(names: Sequence[str], *, required: bool, **more: Any) -> dict[str, Any]:
    """A body with these fields of a create and ``more``; either all are required or none, nor a body."""
    properties = VideoRequest.model_json_schema()["properties"]
    schema = {
        "type": "object",
        "required": list(names) if required else [],
        "additionalProperties": False,
        "properties": {**{name: properties[name] for name in names}, **more},
    }
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


CREATE_BODY = _body(_create_schema())
REMIX_BODY = _part_of_create(("prompt",), required=True)
FINALIZE_BODY = _part_of_create(
    FINALIZE_FIELDS, required=False, dry_run={"type": "boolean", "default": False}
)
CONTINUE_BODY = _part_of_create(CONTINUE_FIELDS, required=False)
