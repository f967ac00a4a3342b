"""From an approved preview to its final, and the line that both belong to."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.api.errors import ApiError, plan_refused
from gateway.api.forms import Form
from gateway.api.params import VideoId
from gateway.api.schemas import FINALIZE_BODY, FinalPlan, Lineage
from gateway.api.threads import in_sql_thread
from gateway.api.video_object import Video, usd_text, video_object
from gateway.api.videos import IdempotencyKey, idempotency_of, read_body, video_reply
from gateway.api.wire import read_finalize
from gateway.catalog.prices import to_micro_usd
from gateway.jobs.errors import PlanRefused
from gateway.jobs.finalize import Final, existing_final, finalize, lineage, plan_final
from gateway.media import Missing

router = APIRouter(prefix="/v1/videos", tags=["videos"])


@router.post("/{video_id}/finalize", response_model=Video | FinalPlan, openapi_extra=FINALIZE_BODY)
async def make_final(
    request: Request, caller: Authenticated, video_id: VideoId, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Make the final video of an approved preview, once; with ``dry_run`` only tell what it would cost."""
    runtime = runtime_of(request)
    form = await read_body(request, runtime) if await request.body() else Form(fields={})
    wishes, dry_run = read_finalize(form)
    if not dry_run:
        made = await in_sql_thread(request, partial(existing_final, runtime, caller, video_id))
        if made is not None:
            return video_reply(video_object(made), replayed=True)
    try:
        decoders: CapacityLimiter = request.app.state.decoders
        find = partial(plan_final, runtime, caller, video_id, wishes)
        final = await to_thread.run_sync(find, limiter=decoders)
    except Missing:
        raise ApiError(
            410,
            "content_missing",
            "An input image of that preview is gone from storage: create a new preview and send the image "
            "again. Nothing was charged.",
            param="video_id",
        ) from None
    if dry_run:
        return JSONResponse(described(final))
    asked = final.tied.request
    idempotency = idempotency_of(caller, idempotency_key, f"finalize {video_id}", asked)
    take = partial(finalize, runtime, caller, final, reply=video_object, idempotency=idempotency)
    try:
        accepted = await to_thread.run_sync(take)
    except PlanRefused as error:
        raise plan_refused(error, asked.model, asked.preset) from None
    return video_reply(accepted.reply, replayed=accepted.replayed)


@router.get("/{video_id}/lineage", response_model=Lineage)
def read_lineage(request: Request, caller: Authenticated, video_id: VideoId) -> JSONResponse:
    """The preview and all that was made of it, oldest first, and what they cost together so far."""
    found = lineage(runtime_of(request), caller, video_id)
    return JSONResponse(
        {
            "object": "video.lineage",
            "lineage_id": found[0].lineage_id or found[0].id,
            "data": [video_object(record) for record in found],
            "charge_usd": usd_text(sum(record.charge_micro_usd or 0 for record in found)),
        }
    )


def described(final: Final) -> dict[str, Any]:
    """What a final would keep of its preview, and what it would cost more."""
    chosen = final.tied.plan.chosen
    preview = final.preview.charge_micro_usd or 0
    estimate = None if chosen is None else to_micro_usd(chosen.estimate_usd)
    return {
        "object": "video.final_plan",
        "continuity": final.tied.continuity,
        "preview_charge_usd": usd_text(preview),
        "estimate_usd": None if estimate is None else usd_text(estimate),
        "difference_usd": None if estimate is None else usd_text(estimate - preview),
        "plan": final.tied.plan.model_dump(mode="json"),
    }
