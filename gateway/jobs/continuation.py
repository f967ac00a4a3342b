"""A continuation: the final render that goes on from the state which a prefix preview kept."""

from __future__ import annotations

from gateway.db.keys import Caller
from gateway.jobs.errors import CheckpointMissing, NotContinuable, NotFinished
from gateway.jobs.records import CHECKPOINT, VideoRecord, get_artefact, get_request, get_video
from gateway.jobs.resources import Resources
from gateway.spec import Continues, VideoRequest


def finishing_preset(resources: Resources, offer_id: str, preset: str) -> str | None:
    """The preset that goes on from a render with this one; None if it stops nowhere, or is not installed."""
    found = resources.registry.catalog.offer(offer_id)
    begun = found[1].preset(preset) if found is not None else None
    return begun.finished_by if begun is not None else None


def continuation(resources: Resources, caller: Caller, video_id: str) -> VideoRequest:
    """What was asked for with a prefix preview, as the final render that goes on from it.

    Raises:
        VideoNotFound: unknown, deleted, or another tenant's.
        NotFinished: it is still being made.
        NotContinuable: it is no prefix preview, or it failed.
        CheckpointMissing: its state has expired or was lost.
    """
    with resources.db.read() as connection:
        record = get_video(connection, caller, video_id)
        asked = get_request(connection, caller, video_id)
        state = get_artefact(connection, video_id, CHECKPOINT)
    preset = _finishing_preset(resources, record)
    if state is None or state.deleted or not resources.store.exists(state.key):
        raise CheckpointMissing(video_id)
    made = record.attempts[-1]
    done = Continues(
        video_id=video_id,
        attempt_id=made.id,
        offer=made.offer,
        account=made.account,
        done_preset=made.preset,
        checkpoint=state.key,
        sha256=state.sha256,
    )
    return asked.model_copy(
        update={"model": made.model, "mode": "final", "preset": preset, "continues": done}
    )


def _finishing_preset(resources: Resources, record: VideoRecord) -> str:
    if record.status == "failed":
        raise NotContinuable(f"it failed ({record.error_code})")
    made = record.attempts[-1]
    preset = finishing_preset(resources, made.offer, made.preset)
    if preset is None:
        raise NotContinuable(f"its preset is {made.preset}, which makes no prefix preview")
    if not record.terminal:
        raise NotFinished(record.id)
    return preset
