"""One clip on a loaded engine: the gateway's job in, an MP4 out."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from adapters.wan_local._engines import Engines
from adapters.wan_local._options import PresetParams, read_sampling
from adapters.wan_local._pictures import read_picture
from adapters.wan_local._translate import in_the_gateways_words
from adapters.wan_local._watch import ALL_DONE, Watch
from adapters.wan_local._weights import Weights
from adapters.wan_local.engine import (
    DISTILLED,
    OFFICIAL,
    Checkpoint,
    CheckpointDamaged,
    CheckpointMismatch,
    Stats,
    WanEngine,
    WanJob,
    WanPreview,
    WanResult,
    seconds_to_frames,
)
from gateway.kit.video import write_mp4
from gateway.spec import Asset, Cancelled, Control, Device, Job, Note, Usage, parse_size

_THE_PREVIEW = "the preview"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What the engine is asked for; ``preview_steps`` for the first steps alone."""

    wan_job: WanJob
    steps: int
    preview_steps: int | None


def render(job: Job, weights: Weights, engines: Engines, device: Device, control: Control) -> Asset:
    """Load what is not loaded, make the clip and write it as it is decoded.

    Raises: as :meth:`gateway.spec.LocalAdapter.render`.
    """
    order = _order(job, weights)
    if control.cancelled():
        raise Cancelled("The render was stopped before it started.")
    if not engines.holds(weights, device):
        control.progress("load", 0, ALL_DONE)
    engine = engines.get(weights, device)
    began = time.perf_counter()
    path = control.folder / "clip.mp4"
    notes: list[Note] = []
    with in_the_gateways_words(weights.model):
        result = _make(engine, order, job, control, notes)
        stats = result.stats
        with stats.timed("encode"):
            write_mp4(path, result.frames, job.output.fps, metadata=_recipe(job, weights, order, stats))
    stats.seconds["encode"] -= stats.seconds["decode"]  # the frames are decoded as they are written
    log.info("%s: %s", job.tag, _account(stats))
    used = max(1, round((time.perf_counter() - began + stats.seconds_before) * 1000))
    return Asset(path=path, usage=Usage(device_ms=used), notes=(*notes, *_notes(job, stats)))


def _make(
    engine: WanEngine, order: _Order, job: Job, control: Control, notes: list[Note]
) -> WanResult | WanPreview:
    """The clip, or its preview, from where earlier work on it stands."""
    start = _start(engine, order, job, control, notes)
    watch = Watch(control, order.preview_steps or order.steps, job.output.seconds)
    if order.preview_steps is None:
        return engine.run(order.wan_job, watch, resume=start)
    part = engine.preview(order.wan_job, order.preview_steps, watch, resume=start)
    if start is None or start.step < part.checkpoint.step:  # else it is kept already
        control.keep_checkpoint(part.checkpoint.to_bytes())
    return part


def _start(
    engine: WanEngine, order: _Order, job: Job, control: Control, notes: list[Note]
) -> Checkpoint | None:
    """The first checkpoint that can be gone on from; a note says which, or why there is none."""
    useless: list[str] = []
    for whose, data in _kept(job, control):
        try:
            checkpoint = Checkpoint.from_bytes(data)
            engine.check_resume(order.wan_job, checkpoint)
        except (CheckpointDamaged, CheckpointMismatch) as error:
            log.warning("%s: %s", job.tag, error)
            useless.append(str(error))
            continue
        step = f"step {checkpoint.step} of {checkpoint.total}"
        notes.append(Note(code="resumed", detail=f"went on after {step} of {whose}"))
        # The preview was paid for with the preview.
        return replace(checkpoint, seconds=0.0) if whose == _THE_PREVIEW else checkpoint
    if job.request.continues is not None and not useless:
        useless.append("the preview's state is gone")
    if useless:
        notes.append(Note(code="restarted", detail=f"made from the beginning: {useless[0]}"))
    return None


def _kept(job: Job, control: Control) -> Iterator[tuple[str, bytes]]:
    """Checkpoints with whose they are, the most advanced first."""
    for data in control.checkpoints():
        yield "an interrupted run", data
    given = job.read_checkpoint()
    if given is not None:
        yield _THE_PREVIEW, given


def _order(job: Job, weights: Weights) -> _Order:
    distilled = job.preset.fast and weights.ours is None
    usual = DISTILLED if distilled else OFFICIAL[weights.variant].sampling
    params: PresetParams = read_sampling(job, usual_steps=usual.steps)
    assert params.steps is not None
    width, height = parse_size(job.output.size)
    wan_job = WanJob(
        prompt=job.request.prompt,
        negative_prompt=job.request.negative_prompt,
        image=read_picture(job, "first_frame"),
        last_image=read_picture(job, "last_frame"),
        width=width,
        height=height,
        frames=seconds_to_frames(float(job.output.seconds), job.output.fps),
        seed=_seed(job),
        speed="distilled" if distilled else "exact",
        **params.model_dump(exclude={"preview_steps"}),
    )
    return _Order(wan_job=wan_job, steps=params.steps, preview_steps=params.preview_steps)


def _seed(job: Job) -> int:
    """The caller's seed, else one by chance that stays when the attempt is run again or continued."""
    request = job.request
    if request.seed is not None:
        return request.seed
    drawn_for = job.tag if request.continues is None else request.continues.attempt_id
    return int.from_bytes(hashlib.sha256(drawn_for.encode()).digest()[:4])


def _recipe(job: Job, weights: Weights, order: _Order, stats: Stats) -> dict[str, str]:
    """What made the clip, under the MP4's key ``recipe``; the prompt is the caller's and stays out."""
    made, sampling = stats.job, stats.job.sampling
    recipe = {
        "model": job.offer.model,
        "preset": job.preset.name,
        "revision": weights.revision,
        "seed": made.seed,
        "generator": "torch, CPU, float32",  # whose seed that is: on a GPU the same number draws other noise
        "frames": made.frames,
        "sampler": sampling.sampler,
        "steps": sampling.steps,
        "shift": sampling.shift,
        "guidance_high": sampling.guidance_high,
        "guidance_low": sampling.guidance_low,
        "boundary": made.boundary,
        "speed": made.speed,
        "preview_steps": order.preview_steps,
    }
    return {"recipe": json.dumps(recipe)}


def _account(stats: Stats) -> str:
    """What a render took, in words for the log."""
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stats.seconds.items())
    forwards = (
        f"{stats.forwards['high']} forwards of the high-noise expert, {stats.forwards['low']} of the low"
    )
    resumed = "" if stats.resumed_at is None else f", resumed at step {stats.resumed_at}"
    return f"{times}; {forwards}{resumed}; peak {stats.peak_bytes / 2**20:.0f} MiB"


def _notes(job: Job, stats: Stats) -> list[Note]:
    notes = []
    if job.request.seed is None:
        notes.append(Note(code="seed_used", detail=f"no seed was given; this clip's is {stats.job.seed}"))
    if stats.prompt_tokens_dropped:
        read = stats.prompt_tokens - stats.prompt_tokens_dropped
        notes.append(
            Note(
                code="prompt_truncated",
                detail=f"the prompt has {stats.prompt_tokens} tokens; the model read the first {read}",
            )
        )
    return notes
