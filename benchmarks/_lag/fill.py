"""Many live jobs in little time: one video of each model is accepted, and its rows are copied for jobs that
the adapter really submits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa

from gateway.db import new_id, now
from gateway.db.keys import Caller, create_key, create_tenant, verify_key
from gateway.db.tables import attempts, videos
from gateway.jobs.accept import accept
from gateway.jobs.adoption import FIRST_POLL
from gateway.jobs.attempts import load, upstream_key
from gateway.jobs.callbacks import attempt_url
from gateway.jobs.runtime import Runtime
from gateway.jobs.work import build_job
from gateway.settings import Settings
from gateway.spec import Job, RemoteAdapter, Ticket, VideoRequest

AT_ONCE = 8
TOGETHER = 250

Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Template:
    """A video that was accepted, what its adapter is handed, and the rows to be copied."""

    adapter: RemoteAdapter
    job: Job
    video: Columns
    attempt: Columns


def fill(settings: Settings, models: Sequence[str], jobs: int) -> None:
    """Have so many jobs under way, as many of each model, at their providers and in the database."""
    runtime = Runtime.open(settings)
    try:
        caller = _caller(runtime)
        templates = [_template(runtime, caller, model) for model in models]
        for start in range(0, jobs, TOGETHER):
            chosen = [
                templates[number % len(templates)] for number in range(start, min(start + TOGETHER, jobs))
            ]
            rows = runtime.io.run(_submitted(runtime, chosen))
            with runtime.db.write() as connection:
                connection.execute(videos.insert(), [video for video, _ in rows])
                connection.execute(attempts.insert(), [attempt for _, attempt in rows])
    finally:
        runtime.close()


def _caller(runtime: Runtime) -> Caller:
    """A tenant's key for test mode."""
    with runtime.db.write() as connection:
        tenant = create_tenant(connection, "benchmark", runtime.settings.tiers[-1])
        key = create_key(connection, runtime.pepper, tenant, name="benchmark", livemode=False)
    with runtime.db.read() as connection:
        caller = verify_key(connection, runtime.pepper, key.secret)
    assert caller is not None
    return caller


def _template(runtime: Runtime, caller: Caller, model: str) -> Template:
    request = VideoRequest(prompt="A paper boat on a quiet pond", model=model)
    accepted = accept(runtime, caller, request, {}, reply=lambda record: {"id": record.id})
    of = accepted.reply["id"]
    with runtime.db.read() as connection:
        video = connection.execute(sa.select(videos).where(videos.c.id == of)).one()
        attempt = connection.execute(sa.select(attempts).where(attempts.c.video_id == of)).one()
        job = build_job(runtime, load(connection, attempt.id))
    return Template(
        adapter=runtime.registry.remote(attempt.adapter, attempt.account),
        job=job,
        video=dict(video._mapping),
        attempt=dict(attempt._mapping),
    )


async def _submitted(runtime: Runtime, templates: Sequence[Template]) -> list[tuple[Columns, Columns]]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(template: Template) -> tuple[Columns, Columns]:
        attempt = template.attempt | {"id": new_id("att"), "video_id": new_id("video")}
        url = attempt_url(runtime, cast("sa.Row[Any]", SimpleNamespace(**attempt)))
        async with turns:
            ticket = await template.adapter.submit(replace(template.job, tag=attempt["id"], callback_url=url))
        return _under_way(template.video, attempt, ticket)

    return await asyncio.gather(*map(one, templates))


def _under_way(video: Columns, attempt: Columns, ticket: Ticket) -> tuple[Columns, Columns]:
    """The rows of a job that was just submitted."""
    at = now()
    submitted = {
        "state": "submitted",
        "ticket": ticket.model_dump(mode="json"),
        "upstream_id": upstream_key(ticket),
        "fence": 1,
        "started_at": at,
        "submitted_at": at,
        "next_poll_at": at + FIRST_POLL,
    }
    return video | {"id": attempt["video_id"], "status": "in_progress"}, attempt | submitted
