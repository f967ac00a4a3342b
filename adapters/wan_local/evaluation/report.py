"""Sittings as a table for people and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from adapters.wan_local.evaluation.exam import Question
from adapters.wan_local.evaluation.oracle import Verdict, judge, psnr
from adapters.wan_local.evaluation.score import ASKED, Share, add_up
from adapters.wan_local.evaluation.sight import Clip
from adapters.wan_local.evaluation.sitting import Sitting


def describe_sitting(sitting: Sitting) -> dict[str, Any]:
    """One arm's figures as JSON; ``with_two``: of the scenes with two actors alone."""
    verdicts = [answer.verdict for answer in sitting.answers]
    two = [answer.verdict for answer in sitting.answers if len(answer.question.scene.actors) == 2]
    wrong = [_describe_wrong(answer.question, answer.verdict) for answer in sitting.answers]
    return {
        "arm": sitting.arm.name,
        "right": describe_verdicts(verdicts),
        "with_two": describe_verdicts(two),
        "seconds": round(sitting.seconds, 3),
        "peak_bytes": sitting.peak_bytes,
        "first_frame_psnr_db": None if sitting.kept is None else round(sitting.kept, 2),
        "wrong": [one for one in wrong if one["wrong"]],
    }


def describe_verdicts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Counts, shares and 95% intervals by what was asked."""
    if not verdicts:
        return {}
    return {
        name: {"right": one.right, "of": one.of, "share": round(one.value, 4), "interval": _rounded(one)}
        for name, one in add_up(verdicts).items()
    }


def describe_copies(questions: Sequence[Question], copies: Sequence[Clip]) -> dict[str, Any]:
    """What the VAE makes of true clips: PSNR in dB, and the oracle on them; ``oracle``: on the true clips."""
    ratios = [psnr(copy, one.film) for copy, one in zip(copies, questions, strict=True)]
    return {
        "psnr_db": round(statistics.fmean(ratios), 2),
        "lowest_psnr_db": round(min(ratios), 2),
        "right": describe_verdicts([judge(c, q.scene) for c, q in zip(copies, questions, strict=True)]),
        "oracle": describe_verdicts([judge(question.film, question.scene) for question in questions]),
    }


def make_table(title: str, rows: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Percent right with intervals; a row is a name and what :func:`describe_verdicts` says of it."""
    table = Table("", *ASKED, title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name, shares in rows:
        table.add_row(name, *(_percent(shares[asked]) for asked in ASKED))
    return table


def _describe_wrong(question: Question, verdict: Verdict) -> dict[str, Any]:
    wrong = [name for name in ASKED if name != "all" and not getattr(verdict, name)]
    return {"number": question.number, "prompt": question.prompt, "wrong": wrong}


def _rounded(share: Share) -> list[float]:
    return [round(end, 4) for end in share.interval]


def _percent(share: dict[str, Any]) -> str:
    low, high = (100 * end for end in share["interval"])
    return f"{100 * share['share']:.3g} ({low:.0f}-{high:.0f})"
