"""What came of the remote campaign, in words and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import checker
from .checker import BilledJob, Verdict

SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it. ``wrong`` are the troubles that the checker does not see."""

    seed: int
    verdict: Verdict
    bill: Sequence[BilledJob]
    kills: int
    faulty: int
    ends: Mapping[str, Counter[str]]
    wrong: Sequence[str]
    resets: Mapping[str, int]
    asked_again: Mapping[int, int]
    wall_s: float
    logs: str = field(default="", repr=False)

    @property
    def billed(self) -> int:
        """All that the providers bill, in micro-USD."""
        return sum(checker.micro(job.usd) for job in self.bill)

    @property
    def exposed(self) -> int:
        """What they bill for attempts of unknown outcome, in micro-USD."""
        return sum(checker.micro(one.job.usd) for one in self.verdict.exposures if one.job is not None)

    @property
    def ok(self) -> bool:
        """True if every promise was kept."""
        balanced = self.billed == self.verdict.recorded + self.exposed
        return balanced and not (self.verdict.violations or self.wrong)


def report(result: Result) -> str:
    """The table of ends, what is of unknown outcome, what was broken, and the figures in a line."""
    verdict = result.verdict
    lines = [f"{'fault':<28} {'jobs':>5}  ends"]
    for fault, counted in sorted(result.ends.items()):
        ends = ", ".join(f"{end} {count}" for end, count in counted.most_common())
        lines.append(f"{fault or 'none':<28} {sum(counted.values()):>5}  {ends}")
    lines += ["", "of unknown outcome:" if verdict.exposures else "no attempt of unknown outcome"]
    for one in verdict.exposures:
        taken = "not taken" if one.job is None else f"taken as {one.job.id}, billed ${one.job.usd}"
        lines.append(f"  {one.attempt_id} at {one.adapter}: {taken}")
    acts = ", ".join(f"{act} {count} times" for act, count in result.resets.items())
    lines += [
        "",
        f"the caretaker: {acts or 'did nothing'}",
        f"asked again, by status, 503 where there was no answer: {dict(result.asked_again)}",
    ]
    lines += [f"{one.kind}: {one.subject}: {one.text}" for one in verdict.violations[:SHOWN]]
    more = len(verdict.violations) - SHOWN
    lines += [f"and {more} more violations"] if more > 0 else []
    lines += [f"wrong: {one}" for one in result.wrong]
    return "\n".join([*lines, "", _figures(result)])


def _figures(result: Result) -> str:
    verdict = result.verdict
    adapters = len({job.adapter for job in result.bill})
    charged_twice = verdict.count(checker.DOUBLE_CHARGE)
    submitted_twice = verdict.count(checker.DOUBLE_SUBMIT)
    exposures, billed = verdict.exposures, result.billed / 1e6
    recorded, exposed = verdict.recorded / 1e6, result.exposed / 1e6
    lost = verdict.count(checker.LOST)
    stuck = verdict.count(checker.STUCK, checker.WRONG_END)
    other = verdict.count(
        checker.UNBALANCED, checker.BILL, checker.FILE, checker.HISTORY, checker.TOLD, checker.KEY
    )
    taken = sum(one.job is not None for one in exposures)
    return (
        f"seed {result.seed}: {'every promise was kept' if result.ok else 'BROKEN'}: {verdict.jobs} jobs at "
        f"{adapters} providers, {result.faulty} with a fault, {result.kills} kills; lost {lost}, not ended "
        f"or wrongly {stuck}, charged twice {charged_twice}, submitted twice {submitted_twice}, "
        f"other {other}; billed ${billed:.6f} = recorded ${recorded:.6f} + ${exposed:.6f} of "
        f"{len(exposures)} attempts of unknown outcome, {taken} of them taken; "
        f"{result.wall_s / 60:.1f} minutes"
    )


def save(result: Result, path: Path) -> None:
    """Everything, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    verdict = {**vars(result.verdict), "violations": [vars(one) for one in result.verdict.violations]}
    path.write_text(json.dumps({"ok": result.ok, **vars(result), "verdict": verdict}, indent=1, default=str))
