"""One round of every cell, on one target after another, and what the rounds come to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

import uvloop

from benchmarks._gateway.client import BadAnswer, Call, Load, ask, ask_at_once, load
from benchmarks._gateway.processes import forget_peak, memory_mb
from benchmarks._gateway.servers import Target

Operation = Literal["create", "status", "content"]

OPERATIONS: tuple[Operation, ...] = ("create", "status", "content")
CLIENTS = (1, 32)
DOWNLOADS = (1, 4)
_REST_S = 0.3


@dataclass(frozen=True)
class Speed:
    """One operation in one round: milliseconds, and requests per second."""

    round: int
    target: str
    operation: Operation
    clients: int
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_second: float


@dataclass(frozen=True)
class Download:
    """The large file, once: the slowest client's ms, and MB that the server grew by, and was, at most."""

    round: int
    target: str
    clients: int
    first_byte_ms: float
    total_ms: float
    growth_mb: float
    peak_mb: float


@dataclass(frozen=True)
class Memory:
    """Resident MB of a server: after its first answers, and at its peak under the load of all cells."""

    target: str
    rest_mb: float
    load_mb: float


def request_of(target: Target, operation: Operation) -> Call:
    """What to send for an operation."""
    calls: dict[Operation, Call] = {
        "create": target.create,
        "status": target.status,
        "content": target.content,
    }
    return calls[operation]


def check_same_clip(targets: Sequence[Target], clip: Path) -> None:
    """Every target must answer with these very bytes.

    Raises:
        BadAnswer: one does not.
    """
    content = clip.read_bytes()
    for target in targets:
        answer = uvloop.run(ask(target.content))
        if answer.length != len(content) or answer.body != content[: len(answer.body)]:
            digest = hashlib.sha256(answer.body).hexdigest()[:12]
            raise BadAnswer(
                f"{target.name} serves other bytes: {answer.length} ({digest}), not {len(content)}"
            )


def warm_up(targets: Sequence[Target], seconds: float) -> None:
    """Let every server make its caches, pools and threads before anything counts."""
    for target in targets:
        for operation in OPERATIONS:
            uvloop.run(load(request_of(target, operation), CLIENTS[-1], seconds))


def rounds_until(rounds: int, until: float) -> Iterator[int]:
    """1 to ``rounds``, but no further round, save the first, from ``until`` on (of the monotonic clock)."""
    for number in range(1, rounds + 1):
        if number > 1 and time.monotonic() > until:
            return
        yield number


def measure_speed(targets: Sequence[Target], rounds: Iterable[int], seconds: float) -> list[Speed]:
    """Every cell in every round, the targets by turns within a cell."""
    speeds = []
    for number in rounds:
        for operation in OPERATIONS:
            for clients in CLIENTS:
                for target in targets:
                    time.sleep(_REST_S)
                    taken = uvloop.run(load(request_of(target, operation), clients, seconds))
                    speeds.append(_speed(number, target.name, operation, clients, taken))
    return speeds


def measure_downloads(targets: Sequence[Target], rounds: Iterable[int], length: int) -> list[Download]:
    """The file that each target now has as its clip, whole, by one client and by several at once."""
    downloads = []
    for number in rounds:
        for clients in DOWNLOADS:
            for target in targets:
                time.sleep(_REST_S)
                downloads.append(_download(number, target, clients, length))
    return downloads


def median_speed(speeds: Sequence[Speed], target: str, operation: Operation, clients: int) -> Speed | None:
    """The median of each figure over the rounds; the requests are the sum. None if it was not measured."""
    cell = [one for one in speeds if (one.target, one.operation, one.clients) == (target, operation, clients)]
    if not cell:
        return None
    return Speed(
        round=0,
        target=target,
        operation=operation,
        clients=clients,
        requests=sum(one.requests for one in cell),
        p50_ms=median(one.p50_ms for one in cell),
        p95_ms=median(one.p95_ms for one in cell),
        p99_ms=median(one.p99_ms for one in cell),
        per_second=median(one.per_second for one in cell),
    )


def median_download(downloads: Sequence[Download], target: str, clients: int) -> Download | None:
    """The median of each figure over the rounds. None if it was not measured."""
    cell = [asdict(one) for one in downloads if (one.target, one.clients) == (target, clients)]
    if not cell:
        return None
    figures = ("first_byte_ms", "total_ms", "growth_mb", "peak_mb")
    middle = {name: median(one[name] for one in cell) for name in figures}
    return Download(round=0, target=target, clients=clients, **middle)


def _speed(number: int, target: str, operation: Operation, clients: int, taken: Load) -> Speed:
    cuts = quantiles(taken.times_ms, n=100, method="inclusive")
    return Speed(
        round=number,
        target=target,
        operation=operation,
        clients=clients,
        requests=len(taken.times_ms),
        p50_ms=cuts[49],
        p95_ms=cuts[94],
        p99_ms=cuts[98],
        per_second=len(taken.times_ms) / taken.wall_s,
    )


def _download(number: int, target: Target, clients: int, length: int) -> Download:
    before = memory_mb(target.pid)
    forget_peak(target.pid)
    answers = uvloop.run(ask_at_once(target.content, clients))
    peak = memory_mb(target.pid, "VmHWM")
    if any(answer.length != length for answer in answers):
        raise BadAnswer(f"{target.name} sent {[answer.length for answer in answers]} bytes, not {length}")
    return Download(
        round=number,
        target=target.name,
        clients=clients,
        first_byte_ms=1000 * max(answer.first_byte_s for answer in answers),
        total_ms=1000 * max(answer.total_s for answer in answers),
        growth_mb=max(0.0, peak - before),
        peak_mb=peak,
    )
