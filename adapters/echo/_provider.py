"""The provider that echo imitates: a file, so that it outlives whoever calls it.

The bill is append-only JSON lines. A job's state is computed from its line and the clock, so there is nothing
to run: kill every process of the gateway, and the provider goes on. The bill can be compared with what the
gateway believes it ordered: one ``submit`` line is one job that costs ``usd``, unless a ``cancel`` line with
its id follows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from adapters.echo._drawing import Drawing, drawing_of, first_frame_of
from gateway.spec import Job, Value

Fate = Literal["succeeds", "fails", "fails_by_user"]
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_USD_PER_SECOND = Decimal("0.01")
_QUEUED_SHARE = 0.1  # of the latency


class Entry(Value):
    """A job as the bill knows it; ``at`` in seconds since the epoch, ``usd`` 0 where it is to fail."""

    id: str
    tag: str
    at: float
    latency_ms: int
    fate: Fate
    usd: str
    seconds: Decimal
    drawing: Drawing
    has_image: bool


class Provider:
    """Reads and writes one bill. Any number of them, in any number of processes, may share the file."""

    def __init__(self, bill: Path, now: Callable[[], float] = time.time) -> None:
        self._bill = bill
        self._now = now
        self._read_to = 0
        self._entries: dict[str, Entry] = {}
        self._cancelled: dict[str, float] = {}
        self._by_tag: dict[str, list[str]] = {}

    def submit(self, job: Job, latency_ms: int, fate: Fate) -> str:
        """Take a job and return its id. Not idempotent, like most providers: the tag is only a label."""
        image = first_frame_of(job)
        entry = Entry(
            id=f"echo-{uuid4().hex}",
            tag=job.tag,
            at=self._now(),
            latency_ms=latency_ms,
            fate=fate,
            usd=str(_USD_PER_SECOND * job.output.seconds if fate == "succeeds" else 0),
            seconds=job.output.seconds,
            drawing=drawing_of(job),
            has_image=image is not None,
        )
        self._bill.parent.mkdir(parents=True, exist_ok=True)
        if image is not None:
            self._image_path(entry).write_bytes(image)
        self._append({"event": "submit", **entry.model_dump(mode="json")})
        return entry.id

    def cancel(self, id: str) -> bool:
        """Stop a job; False if it is over or unknown."""
        if self.state(id) not in ("queued", "running"):
            return False
        self._append({"event": "cancel", "id": id, "at": self._now()})
        return True

    def find(self, tag: str) -> list[str]:
        """The ids of the jobs with this tag, oldest first."""
        self._refresh()
        return list(self._by_tag.get(tag, ()))

    def entry(self, id: str) -> Entry | None:
        """The job, or None if it was never taken."""
        self._refresh()
        return self._entries.get(id)

    def state(self, id: str) -> State | None:
        """What the job is at now, or None if it was never taken."""
        entry = self.entry(id)
        if entry is None:
            return None
        if id in self._cancelled:
            return "cancelled"
        done = self.share_done(entry)
        if done < 1:
            return "queued" if done < _QUEUED_SHARE else "running"
        return "succeeded" if entry.fate == "succeeds" else "failed"

    def share_done(self, entry: Entry) -> float:
        """How much of its latency has passed, 0 to 1."""
        if entry.latency_ms == 0:
            return 1.0
        return min(1.0, max(0.0, (self._now() - entry.at) * 1000 / entry.latency_ms))

    def left_ms(self, entry: Entry) -> int:
        """Milliseconds until the job is over."""
        return round(entry.latency_ms * (1 - self.share_done(entry)))

    def image(self, entry: Entry) -> bytes | None:
        """The picture that came with the job."""
        return self._image_path(entry).read_bytes() if entry.has_image else None

    def _image_path(self, entry: Entry) -> Path:
        return self._bill.parent / f"{entry.id}.image"

    def _append(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        # one write on an O_APPEND file lands whole and in order, whoever else writes
        file = os.open(self._bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(file, data)
        finally:
            os.close(file)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes of a line were written to {self._bill}")

    def _refresh(self) -> None:
        """Read the lines added since the last look; an unfinished last line waits for the next."""
        if not self._bill.exists():
            return
        with self._bill.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for raw in whole.splitlines():
            self._learn(json.loads(raw))

    def _learn(self, line: dict[str, Any]) -> None:
        event = line.pop("event")
        if event == "cancel":
            self._cancelled.setdefault(line["id"], line["at"])
            return
        entry = Entry.model_validate(line)
        self._entries[entry.id] = entry
        self._by_tag.setdefault(entry.tag, []).append(entry.id)
