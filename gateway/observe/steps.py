"""The steps of an attempt's story, each maybe in a process of its own, as log lines and spans tell them.

The rows are those of ``gateway.jobs.attempts.load``: an attempt with what concerns it of its video.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from gateway.observe.logs import log_context
from gateway.observe.traces import record, span


@contextmanager
def step(name: str, row: sa.Row[Any]) -> Iterator[None]:
    """Around one step: what is logged inside says whose it is, and a span of the video's trace covers it."""
    video_id, attempt_id, adapter = row.video_id, row.id, row.adapter
    with (
        log_context(video_id=video_id, attempt_id=attempt_id, adapter=adapter),
        span(name, parent=row.traceparent, video_id=video_id, attempt_id=attempt_id, adapter=adapter),
    ):
        yield


def generated(row: sa.Row[Any], state: str, cost_micro_usd: int | None = None) -> None:
    """Tell, once an attempt's books are closed, how long the provider or the device was at work on it."""
    begun = row.running_at or row.submitted_at
    if begun is None or row.finished_at is None:
        return
    record(
        f"generate_content {row.model}",
        start=begun,
        end=row.finished_at,
        kind="client" if row.kind == "remote" else "internal",
        video_id=row.video_id,
        attempt_id=row.id,
        adapter=row.adapter,
        model=row.model,
        size=row.size,
        clip_ms=row.clip_ms,
        state=state,
        cost_micro_usd=cost_micro_usd,
    )
