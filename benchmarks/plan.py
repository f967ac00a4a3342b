"""How long one plan takes: ``python -m benchmarks.plan [--cards 50] [--rounds 2000]``.

A way is one preset of one offer. The requests run from the easiest case (one model) to the hardest (every
way fits, is priced and ranked). Nothing is read or written.
"""

from __future__ import annotations

import argparse
from datetime import date
from decimal import Decimal
from statistics import quantiles
from time import perf_counter
from typing import Any

from gateway.routing import AccountFacts, AdapterFacts, Facts, PoolFacts, plan
from gateway.spec import ModelCard, Policy, VideoRequest
from routing_policies.cheapest import Cheapest
from routing_policies.tiered import Tiered

SOURCE = {"text": "invented for the benchmark", "date": "2026-01-01", "confidence": "high"}
REQUESTS: tuple[tuple[str, int, Policy, dict[str, Any]], ...] = (
    ("named model", 3, Tiered(), {"model": "model-7"}),
    ("no card fits", 1, Tiered(), {"seconds": "7"}),
    ("half the cards fit, tiered", 1, Tiered(), {"audio": "required"}),
    ("every card fits, tiered", 1, Tiered(), {}),
    ("every card fits, cheapest", 1, Cheapest(), {"resolution": "720p", "aspect_ratio": "9:16"}),
    ("every card fits in 3 ways, cheapest", 3, Cheapest(), {}),
)


def make_card(number: int, ways: int) -> ModelCard:
    """One card with one offer of so many presets; every other card makes sound."""
    name = f"model-{number}"
    time = {"clip_seconds": "5", "seconds": "60", "source": SOURCE}
    price = {
        "unit": "second",
        "usd": f"0.{number + 10}",
        "effective_from": "2026-01-01",
        "source": SOURCE,
    }
    presets = [{"name": f"preset-{way}", "times": [time]} for way in range(ways)]
    return ModelCard.model_validate(
        {
            "id": name,
            "name": name,
            "tasks": ["text-to-video", "image-to-video"],
            "sizes": {
                "480p": ["832x480", "480x832", "624x624"],
                "720p": ["1280x720", "720x1280", "960x960"],
                "1080p": ["1920x1080", "1080x1920"],
            },
            "default_size": "1280x720",
            "durations": {"values": ["5", "10"], "default": "5"},
            "fps": {"default": 24, "min": 24, "max": 24},
            "audio": "optional" if number % 2 else "never",
            "images": {"first_frame": True},
            "offers": [
                {"model": name, "adapter": "one", "upstream": name, "presets": presets, "prices": [price]}
            ],
        }
    )


def make_facts(cards: int, ways: int, policy: Policy) -> Facts:
    """Facts about so many cards, whose adapter is present."""
    return Facts(
        today=date(2026, 9, 1),
        cards=tuple(make_card(number, ways) for number in range(cards)),
        adapters={"one": AdapterFacts(kind="remote", accounts=(AccountFacts(name="default"),))},
        policy=policy,
        tier="enterprise",
        tiers=("basic", "pro", "enterprise"),
        pools={"gpu": PoolFacts(slots=1, hourly_usd=Decimal("1.64"))},
    )


def measure(request: VideoRequest, facts: Facts, rounds: int) -> list[float]:
    """Milliseconds of each of so many plans."""
    times = []
    for _ in range(rounds):
        start = perf_counter()
        plan(request, facts)
        times.append((perf_counter() - start) * 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2000)
    args = parser.parse_args()
    print(f"| request ({args.cards} cards) | ways | candidates | p50 ms | p99 ms |")
    print("|---|--:|--:|--:|--:|")
    for name, ways, policy, fields in REQUESTS:
        facts = make_facts(args.cards, ways, policy)
        request = VideoRequest.model_validate({"prompt": "a paper boat", **fields})
        fitting = len(plan(request, facts).candidates)
        cuts = quantiles(measure(request, facts, args.rounds), n=100)
        print(f"| {name} | {ways * args.cards} | {fitting} | {cuts[49]:.3f} | {cuts[98]:.3f} |")


if __name__ == "__main__":
    main()
