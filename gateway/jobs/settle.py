"""Settle: once an attempt's work is over, deliver and charge it, or release it and go on.

Enqueued in the transaction that saw the end, under the attempt's id. Trouble that may pass (a full store, a
download that broke off) leaves the attempt as it is, and the watcher enqueues the settling again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import PriceTerms, cost, to_micro_usd
from gateway.db import new_id, now
from gateway.db.tables import artefacts, videos
from gateway.jobs import checkpoints
from gateway.jobs.attempts import all_notes, change, end, load, mark_settled, parties_of
from gateway.jobs.continuation import finishing_preset
from gateway.jobs.events import add_event
from gateway.jobs.failure import close, for_caller
from gateway.jobs.records import CHECKPOINT
from gateway.jobs.resources import Resources
from gateway.ledger.entries import charge_and_release, provider_actual
from gateway.media import (
    BrokenVideo,
    Probe,
    Store,
    Stored,
    fetch_result,
    probe,
    spritesheet,
    thumbnail,
)
from gateway.observe.steps import generated, step
from gateway.registry import SANDBOX
from gateway.spec import (
    Failed,
    Note,
    Output,
    ReelgateError,
    RemoteAdapter,
    StreamsContent,
    Succeeded,
    Ticket,
    Usage,
    parse_size,
)

RETRY_FIRST = timedelta(seconds=2)
RETRY_LONGEST = timedelta(seconds=300)
DELIVER_WITHIN = timedelta(minutes=15)
"""For how long the watcher leaves a delivery alone: more than the longest download."""

BROKEN_AGAIN = 2
"""How often a clip that came broken is fetched again before it is given up: it is paid for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A result that is verified and stored."""

    probe: Probe
    files: Sequence[tuple[str, str, Stored]]
    """variant, media type, where it lies"""
    transfer_ms: int
    store_ms: int


def settle(resources: Resources, attempt_id: str) -> None:
    """Settle one attempt; safe to be run again from the start after any crash, and any number of times."""
    with resources.db.write() as connection:
        row = load(connection, attempt_id, lock=True)
        ended = row.settled_at is None and row.state in ("failed", "cancelled")
        if ended:
            with step("close", row):
                close(connection, resources, row)
                generated(row, row.state)
        made = change(connection, attempt_id, expect=("fetching",), next_poll_at=now() + DELIVER_WITHIN)
    if ended:
        checkpoints.drop(resources, row)
    if not made:
        return
    with step("deliver", row):
        _deliver(resources, row)


def _deliver(resources: Resources, row: sa.Row[Any]) -> None:
    try:
        resources.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=resources.scratch, prefix=f"{row.id}-") as folder:
            delivery = _fetch_and_store(resources, row, Path(folder))
    except BrokenVideo as error:
        if row.kind == "remote" and row.tries < BROKEN_AGAIN:  # it may have been broken on its way
            _try_again(resources, row, error)
        else:
            _broken(resources, row, error)
    except Exception as error:  # noqa: BLE001  # an adapter may raise anything; the result is still there
        _try_again(resources, row, error)
    else:
        state = _state(resources, row)
        with resources.db.write() as connection:
            settled = _complete(connection, resources, row, delivery, state)
        if settled:
            checkpoints.drop(resources, row, keep=None if state is None else state.key)


def _fetch_and_store(resources: Resources, row: sa.Row[Any], folder: Path) -> Delivery:
    begun = time.monotonic()
    store = resources.store
    if row.source_key:
        path, video = store.as_file(row.source_key, folder)
        fetched, facts = time.monotonic(), probe(path)
    else:
        path = _fetch(resources, row, folder / "clip.mp4")
        fetched, facts = time.monotonic(), probe(path)
        video = _keep(store, row, "mp4", path)
    files = [
        ("video", "video/mp4", video),
        ("thumbnail", "image/webp", _keep(store, row, "webp", thumbnail(path))),
        ("spritesheet", "image/jpeg", _keep(store, row, "jpg", spritesheet(path))),
    ]
    return Delivery(
        probe=facts,
        files=files,
        transfer_ms=round((fetched - begun) * 1000),
        store_ms=round((time.monotonic() - fetched) * 1000),
    )


def _keep(store: Store, row: sa.Row[Any], suffix: str, content: Path | bytes) -> Stored:
    """Store under a key that names the content too.

    A settling that is run again after a crash may fetch other bytes than the first time: they must not meet
    under one key.
    """
    if isinstance(content, bytes):
        digest = hashlib.sha256(content)
    else:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    return store.put(f"videos/{row.video_id}/{row.id}-{digest.hexdigest()[:16]}.{suffix}", content)


def _fetch(resources: Resources, row: sa.Row[Any], to: Path) -> Path:
    adapter = resources.registry.remote(row.adapter, row.account)
    ticket = Ticket.model_validate(row.ticket)
    url = _address(resources, adapter, ticket, row)
    if url is not None:
        source: str | AsyncIterator[bytes] = str(url)
    elif isinstance(adapter, StreamsContent):
        source = adapter.content(ticket)
    else:
        raise BrokenVideo("the provider named no place to fetch the video from")
    resources.io.run(
        fetch_result(
            source,
            to,
            headers=adapter.download_headers(ticket),
            allowed_origins=_origins(resources, row),
        )
    )
    return to


def _address(resources: Resources, adapter: RemoteAdapter, ticket: Ticket, row: sa.Row[Any]) -> str | None:
    """Where the result lies. Addresses expire: once a fetch has failed the provider is asked for another."""
    known: str | None = (row.snapshot or {}).get("url")
    if known is None or not row.tries:
        return known
    seen = resources.io.run(adapter.poll(ticket))
    return seen.url if isinstance(seen, Succeeded) else known


def _origins(resources: Resources, row: sa.Row[Any]) -> Sequence[str]:
    """Where its result may lie though it is not public: with the operator's own, or in the sandbox."""
    settings = resources.settings
    return settings.sandbox_origins if row.account == SANDBOX else settings.result_origins


def _state(resources: Resources, row: sa.Row[Any]) -> Stored | None:
    """What a final render is to go on from, where this one was a preview that can be finished: the state that
    it kept last, or the name of the provider's own draft."""
    if finishing_preset(resources, row.offer, row.preset) is None:
        return None
    if row.kind == "remote":
        return _keep(resources.store, row, "json", json.dumps(row.ticket).encode())
    newest = checkpoints.newest(row)
    if newest is None:
        return None
    return Stored(key=newest["key"], sha256=newest["sha256"], bytes=newest["bytes"])


def _complete(
    connection: sa.Connection,
    resources: Resources,
    row: sa.Row[Any],
    delivery: Delivery,
    state: Stored | None,
) -> bool:
    """Charge, release, record the files and complete the video: all or nothing.

    False if another settled it.
    """
    at, kept = now(), resources.settings.keep_videos_days
    usage = Usage.model_validate(row.usage or {})
    price = PriceTerms.model_validate(row.price)
    actual = to_micro_usd(cost(price, Output.model_validate(row.output), usage))
    differences = _differences(row, delivery.probe)
    if state is None and finishing_preset(resources, row.offer, row.preset) is not None:
        detail = "its state could not be kept, so the final video has to be made from the beginning"
        differences.append(Note(code="not_continuable", detail=detail))
    if not mark_settled(
        connection,
        row,
        state="succeeded",
        actual_micro_usd=actual,
        notes=[*row.notes, *(note.model_dump() for note in differences)],
        transfer_ms=delivery.transfer_ms,
        store_ms=delivery.store_ms,
    ):
        return False
    generated(row, "succeeded", actual)
    parties = parties_of(row)
    provider_actual(connection, parties, actual, price.version)
    charged = charge_and_release(connection, parties, actual, price.version)
    files = list(delivery.files)
    if state is not None:
        files.append((CHECKPOINT, "application/octet-stream", state))
    connection.execute(artefacts.insert(), [_artefact(row, delivery, file) for file in files])
    connection.execute(
        videos.update()
        .where(videos.c.id == row.video_id)
        .values(
            status="completed",
            progress=100,
            completed_at=at,
            expires_at=at + timedelta(days=kept) if kept is not None else None,
            charge_micro_usd=charged,
            notes=all_notes(row, *differences),
        )
    )
    add_event(connection, row.video_id, "video.completed", model=row.model, charge_micro_usd=charged)
    return True


def _artefact(row: sa.Row[Any], delivery: Delivery, file: tuple[str, str, Stored]) -> dict[str, Any]:
    variant, media_type, stored = file
    facts = delivery.probe if variant == "video" else None
    return {
        "id": new_id("art"),
        "video_id": row.video_id,
        "attempt_id": row.id,
        "variant": variant,
        "key": stored.key,
        "sha256": stored.sha256,
        "bytes": stored.bytes,
        "media_type": media_type,
        "width": facts and facts.width,
        "height": facts and facts.height,
        "frames": facts and facts.frames,
        "fps": facts and facts.fps,
        "duration_ms": facts and facts.duration_ms,
        "created_at": now(),
    }


def _differences(row: sa.Row[Any], facts: Probe) -> list[Note]:
    """What came back other than as planned."""
    planned = Output.model_validate(row.output)
    notes = []
    if (facts.width, facts.height) != parse_size(planned.size):
        notes.append(
            Note(code="size_differs", detail=f"asked {planned.size}, got {facts.width}x{facts.height}")
        )
    if abs(facts.duration_ms - int(planned.seconds * 1000)) > 500:
        notes.append(
            Note(
                code="duration_differs", detail=f"asked {planned.seconds} s, got {facts.duration_ms / 1000} s"
            )
        )
    if planned.audio and not facts.has_audio:
        notes.append(Note(code="audio_missing", detail="asked for audio, got a silent video"))
    return notes


def _broken(resources: Resources, row: sa.Row[Any], error: BrokenVideo) -> None:
    outcome = Failed(
        code="broken_result",
        message=for_caller("What came back is not a playable video.", user_fault=False),
        billed=row.kind == "remote",
    )
    _end(resources, row, outcome, error)


def _try_again(resources: Resources, row: sa.Row[Any], error: Exception) -> None:
    """Leave the result where it is and come back later; at the deadline the video fails, uncharged."""
    log.warning("attempt %s: settling failed, will be tried again: %s", row.id, _detail(error))
    if now() < row.deadline_at:
        with resources.db.write() as connection:
            later = now() + min(RETRY_FIRST * 2 ** min(row.tries, 10), RETRY_LONGEST)
            change(
                connection, row.id, expect=("fetching",), next_poll_at=later, operator_detail=_detail(error)
            )
        return
    outcome = Failed(
        code="not_delivered",
        message="The video was made but could not be fetched or stored before its deadline."
        " You were not charged. Tell the operator.",
        user_fault=True,  # not to be made again: it exists, and the deadline has passed
        billed=True,
    )
    _end(resources, row, outcome, error)


def _end(resources: Resources, row: sa.Row[Any], outcome: Failed, error: Exception) -> None:
    """Give the result up, and close the books with it."""
    with resources.db.write() as connection:
        ended = end(
            connection,
            row.id,
            expect=("fetching",),
            outcome=outcome,
            under=row.fence,
            operator_detail=_detail(error),
        )
        if ended:
            close(connection, resources, load(connection, row.id, lock=True))
            generated(row, outcome.state)
    if ended:
        checkpoints.drop(resources, row)


def _detail(error: Exception) -> str:
    return error.operator_detail if isinstance(error, ReelgateError) else f"{type(error).__name__}: {error}"
