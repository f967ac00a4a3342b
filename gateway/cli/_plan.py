"""A plan for people: what would be tried in which order, and what was left out with its reason."""

from __future__ import annotations

from rich.console import Console

from gateway.cli._output import milliseconds, table
from gateway.spec import Candidate, Plan


def show_plan(screen: Console, plan: Plan) -> None:
    """Print the whole plan."""
    if plan.chosen is None:
        screen.print(
            f"Nothing can serve this request (policy {plan.policy}, rule {plan.branch}).", style="bold"
        )
    else:
        screen.print(summary(plan), style="bold")
    for note in (*plan.notes, *(plan.chosen.notes if plan.chosen else ())):
        screen.print(f"note: {note.detail} ({note.code})")
    if plan.alternative is not None:
        screen.print(f"the nearest that can: {plan.alternative}")
    if plan.candidates:
        columns = ("", "model", "offer", "preset", "clip", "price>", "expected>", "reason")
        rows = ((place, *_row(one)) for place, one in enumerate(plan.candidates, 1))
        screen.print()
        screen.print(table("Would be tried, in this order", columns, rows))
    if plan.dropped:
        left = ((way.model, way.offer, way.preset, way.code, way.detail) for way in plan.dropped)
        screen.print()
        screen.print(table("Left out", ("model", "offer", "preset", "code", "reason"), left))


def summary(plan: Plan) -> str:
    """The choice on one line."""
    if plan.chosen is None:
        return f"nothing fits (rule {plan.branch})"
    chosen = plan.chosen
    return f"{chosen.model} by {chosen.adapter}, about ${chosen.estimate_usd:f} (rule {plan.branch})"


def _row(one: Candidate) -> tuple[str, ...]:
    output = one.output
    clip = f"{output.size}, {output.seconds} s, {output.fps} fps{', sound' if output.audio else ''}"
    price, expected = f"${one.estimate_usd:f}", milliseconds(one.eta_ms)
    return one.model, one.offer, one.preset, clip, price, expected, one.reason
