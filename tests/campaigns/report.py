"""The campaign's table, a row per phase, and the same in full as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from . import checker
from .checker import Verdict

RECOVERED_WITHIN_S = 15.0
EVIDENCE_SHOWN = 20

COLUMNS = (
    ("phase", 30),
    ("kills", 5),
    ("jobs", 5),
    ("lost", 4),
    ("double submits", 14),
    ("double charges", 14),
    ("unbalanced", 10),
    ("other", 5),
    ("recovered", 9),
    ("p50 s", 6),
    ("max s", 6),
    ("minutes", 7),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One phase. ``recovery_s``: from each kill until its interrupted attempts were taken up again."""

    phase: str
    bounded: bool
    kills: int
    verdict: Verdict
    recovery_s: Sequence[float]
    slowest: Sequence[tuple[float, str, str]]
    never_recovered: int
    missed: Sequence[str]
    unanswered: int
    odd_answers: Mapping[str, int]
    self_exits: Sequence[str]
    wall_s: float
    skipped: str = ""
    logs: str = field(default="", repr=False)

    @property
    def ok(self) -> bool:
        """True if nothing at all was broken."""
        slow = self.bounded and any(seconds > RECOVERED_WITHIN_S for seconds in self.recovery_s)
        return not (
            self.verdict.violations or self.missed or self.never_recovered or self.odd_answers or slow
        )

    def cells(self) -> tuple[object, ...]:
        """The row, under COLUMNS."""
        lost = self.verdict.count(checker.LOST, checker.STUCK, checker.WRONG_END) + self.never_recovered
        submits, charges = (
            self.verdict.count(kind) for kind in (checker.DOUBLE_SUBMIT, checker.DOUBLE_CHARGE)
        )
        unbalanced = self.verdict.count(checker.UNBALANCED, checker.BILL)
        other = self.verdict.count(checker.FILE, checker.HISTORY, checker.TOLD, checker.KEY)
        seconds = self.recovery_s
        times = (f"{median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("", "")
        numbers = (self.kills, self.verdict.jobs, lost, submits, charges, unbalanced, other, len(seconds))
        return (self.phase, *numbers, *times, f"{self.wall_s / 60:.1f}")


def heading() -> str:
    """The table's first line."""
    return "  ".join(f"{name:<{width}}" if name == "phase" else f"{name:>{width}}" for name, width in COLUMNS)


def line(cells: Sequence[object]) -> str:
    """One row of the table."""
    pairs = zip(cells, COLUMNS, strict=True)
    return "  ".join(
        f"{cell!s:<{width}}" if name == "phase" else f"{cell!s:>{width}}" for cell, (name, width) in pairs
    )


def remarks(result: Result) -> list[str]:
    """What the row does not say."""
    told = [f"ends: {dict(result.verdict.ends)}"]
    if result.skipped:
        return [f"skipped: {result.skipped}"]
    if result.missed:
        told.append(f"never passed: {', '.join(result.missed)}")
    if result.bounded:
        told += [
            f"taken up late: {attempt_id}, {state}, after {seconds:.1f} s"
            for seconds, attempt_id, state in result.slowest
            if seconds > RECOVERED_WITHIN_S
        ]
    for name, value in (
        ("objects without a row", result.verdict.orphans),
        ("attempts of unknown outcome", len(result.verdict.exposures)),
        ("creates never answered", result.unanswered),
        ("never taken up again", result.never_recovered),
        ("odd answers", dict(result.odd_answers)),
        ("ended of their own accord", list(result.self_exits)),
    ):
        if value:
            told.append(f"{name}: {value}")
    told += [f"{one.kind}: {one.subject}: {one.text}" for one in result.verdict.violations[:EVIDENCE_SHOWN]]
    more = len(result.verdict.violations) - EVIDENCE_SHOWN
    return [*told, f"and {more} more violations"] if more > 0 else told


def save(results: Sequence[Result], seed: int, path: Path) -> None:
    """Everything, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phases = [{"ok": result.ok, **vars(result), "verdict": _verdict(result.verdict)} for result in results]
    path.write_text(json.dumps({"seed": seed, "phases": phases}, indent=1, default=str))


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {**vars(verdict), "violations": [vars(violation) for violation in verdict.violations]}
