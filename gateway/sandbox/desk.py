"""What the sandbox does for a fake provider: the life of its jobs, its bill and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from gateway.kit.sandbox import Clip, Failure, FakeJob, State
from gateway.sandbox.clips import ClipShelf, drawn
from gateway.sandbox.faults import Disturbance, Fault, Orders
from gateway.sandbox.files import FileStore
from gateway.sandbox.records import Fate, Held, Records

_DISTURBING = ("html", "slow_body", "server_error_burst", "rate_limited")
_BACKWARDS: Sequence[State] = ("running", "queued")
_EXPIRED_S = -60.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long jobs take: seconds in the queue and of rendering, divided by ``speed``.

    ``jitter`` is the share by which each may be shorter or longer.
    """

    queue_s: float = 5.0
    render_s: float = 40.0
    jitter: float = 0.3
    speed: float = 1.0


@dataclass
class Call:
    """A create under way: what is to go wrong with it, and the job that was taken."""

    faults: Sequence[Fault]
    taken: Held | None = None


this_call: ContextVar[Call | None] = ContextVar("this_call", default=None)
"""The create that is being answered."""


@dataclass(kw_only=True)
class Shared:
    """What all desks of a sandbox share. ``pace`` may be changed; it holds for the jobs taken then."""

    records: Records
    clips: ClipShelf
    files: FileStore
    orders: Orders
    pace: Pace
    now: Callable[[], float]
    over: Callable[[Held], None] = lambda held: None
    """Called with every job as it is taken or cancelled: its callback is due at its end."""


class ProviderDesk:
    """The :class:`gateway.kit.sandbox.Desk` of one provider."""

    def __init__(self, provider: str, url: str, shared: Shared) -> None:
        self.url = url
        self._provider = provider
        self._shared = shared

    def now(self) -> float:
        return self._shared.now()

    def take(
        self,
        *,
        account: str,
        clip: Clip,
        usd: Decimal,
        prompt: str,
        data: Mapping[str, Any],
        id: str | None = None,
        tag: str | None = None,
        callback_url: str | None = None,
        slowness: float = 1.0,
    ) -> FakeJob:
        shared = self._shared
        call = this_call.get() or Call(shared.orders.draw(self._provider, prompt.encode()))
        created_at = shared.now()
        started_at = created_at + self._lasts(shared.pace.queue_s * slowness)
        job = FakeJob(
            id=id or uuid4().hex,
            account=account,
            clip=clip,
            usd=usd,
            created_at=created_at,
            started_at=started_at,
            finished_at=started_at + self._lasts(shared.pace.render_s * slowness),
            data=data,
            tag=tag,
            callback_url=callback_url,
        )
        with_the_job = tuple(fault for fault in call.faults if fault.place != "create")
        held = Held(provider=self._provider, job=job, fate=_fate(with_the_job), faults=with_the_job)
        shared.clips.clip(drawn(held))  # drawn while the job "renders"
        shared.records.take(held, prompt)
        call.taken = held
        shared.over(held)
        return job

    def job(self, id: str, *, account: str) -> FakeJob | None:
        held = self._shared.records.find(self._provider, id)
        if held is None or held.job.account != account:
            return None
        for fault in held.faults:
            if fault.place == "look" and fault.name in _DISTURBING and held.struck.strikes(fault):
                raise Disturbance(fault)
        _look(held, self.now())
        return held.job

    def jobs(self, *, account: str) -> Sequence[FakeJob]:
        found = self._shared.records.of_account(self._provider, account)[::-1]
        for held in found:  # a list tells the truth, and uses up no fault of a job that nobody asked for
            held.claim, held.expired = None, False
        return [held.job for held in found]

    def state(self, job: FakeJob) -> State:
        held = self._held(job)
        return held.claim or held.state(self.now())

    def failure(self, job: FakeJob) -> Failure:
        return "content_refused" if self._held(job).fate == "content_refused" else "failed"

    def percent(self, job: FakeJob) -> int:
        lasts = job.finished_at - job.created_at
        return 100 if lasts <= 0 else round(100 * min(1.0, max(0.0, (self.now() - job.created_at) / lasts)))

    def cancel(self, job: FakeJob) -> bool:
        held, now = self._held(job), self.now()
        if held.state(now) not in ("queued", "running"):
            return False
        self._shared.records.cancel(held, now)
        self._shared.over(held)
        return True

    def forget(self, job: FakeJob) -> None:
        self._shared.records.forget(self._held(job))

    def file_url(self, job: FakeJob, *, expires_s: float | None) -> str:
        held = self._held(job)
        return self._shared.files.url(held, _EXPIRED_S if held.expired else expires_s)

    def file(self, job: FakeJob, request: Request) -> Response:
        return self._shared.files.clip(self._held(job))

    def clip_bytes(self, job: FakeJob) -> bytes:
        return self._shared.clips.clip(drawn(self._held(job))).result().read_bytes()

    def _held(self, job: FakeJob) -> Held:
        held = self._shared.records.find(self._provider, job.id)
        assert held is not None, f"{job.id} was forgotten"
        return held

    def _lasts(self, seconds: float) -> float:
        pace = self._shared.pace
        return seconds * self._shared.orders.uniform(1 - pace.jitter, 1 + pace.jitter) / pace.speed


def _fate(faults: Sequence[Fault]) -> Fate:
    names = {fault.name for fault in faults}
    if "content_refused_late" in names:
        return "content_refused"
    return "failed" if "job_failed" in names else "succeeded"


def _look(held: Held, now: float) -> None:
    """Decide what this look is told; it holds for the whole answer."""
    held.claim, held.expired = None, False
    for fault in held.faults:
        if fault.name == "unknown_status" and held.struck.strikes(fault):
            held.claim = "unknown"
        elif fault.name == "status_backwards" and held.cancelled_at is None:
            looks = held.struck.count(fault)
            held.claim = _BACKWARDS[looks] if looks < len(_BACKWARDS) else held.claim
        elif fault.name == "expired_url" and held.state(now) == "succeeded":
            held.expired = held.struck.strikes(fault)
