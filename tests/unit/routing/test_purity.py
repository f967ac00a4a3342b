"""The decision needs no database, no network and no plugin; and it is quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from gateway.routing import plan

ROOT = Path(__file__).parents[3]


def test_the_plan_imports_nothing_that_does_io():
    code = (
        "import sys, gateway.routing.plan\n"
        "heavy = {'sqlalchemy', 'httpx', 'fastapi', 'dbos', 'torch', 'adapters', 'routing_policies'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fifty_cards_are_all_considered(world):
    cards = [
        world.card(f"model-{n}", world.offer(f"model-{n}", presets=[world.preset("standard", "60")]))
        for n in range(50)
    ]
    facts, request = world.facts(*cards), world.request(model="auto", resolution="720p", seed=1)
    times = []
    for _ in range(20):
        start = perf_counter()
        decided = plan(request, facts)
        times.append(perf_counter() - start)
    print(f"plan over 50 cards: median {median(times) * 1000:.2f} ms")
    assert len(decided.dropped) == 50
    assert {d.code for d in decided.dropped} == {"not_in_slot"}
