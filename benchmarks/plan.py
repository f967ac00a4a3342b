"""How long one plan takes: ``python benchmarks/plan.py [--cards 50] [--rounds 2000]``.

Three requests, from the cheapest case (the rules leave little) to the dearest (every card is priced). The
cards hold sizes, dates and prices as the real ones do; nothing is read or written.
"""

from __future__ import annotations

import argparse
from datetime import date
from decimal import Decimal
from statistics import quantiles
from time import perf_counter
from typing import Any

from gateway.routing import AdapterFacts, Facts, PoolFacts, plan
from gateway.spec import ModelCard, Policy, VideoRequest
from routing_policies.cheapest import Cheapest
from routing_policies.tiered import Tiered

SOURCE = {"text": "invented for the benchmark", "date": "2026-01-01", "confidence": "high"}
REQUESTS: tuple[tuple[str, Policy, dict[str, Any]], ...] = (
    ("named model", Tiered(), {"model": "model-7"}),
    ("half the cards fit, tiered", Tiered(), {"audio": "required", "resolution": "1080p"}),
    ("every card fits, cheapest", Cheapest(), {"resolution": "720p", "aspect_ratio": "9:16"}),
)


def make_card(number: int) -> ModelCard:
    """One card: two offers, the first with two presets; every other card makes sound."""
    name = f"model-{number}"
    time = {"clip_seconds": "5", "seconds": "60", "source": SOURCE}
    price = {"unit": "second", "usd": "0.10", "effective_from": "2026-01-01", "source": SOURCE}
    common = {"model": name, "upstream": name, "prices": [price]}
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
                {**common, "adapter": "one", "presets": [{"name": "pro", "times": [time]}, {"name": "std"}]},
                {**common, "adapter": "two", "presets": [{"name": "pro", "times": [time]}]},
            ],
        }
    )


def make_facts(cards: int, policy: Policy) -> Facts:
    """Facts about so many cards, with both adapters present."""
    return Facts(
        today=date(2026, 9, 1),
        cards=tuple(make_card(number) for number in range(cards)),
        adapters={name: AdapterFacts(kind="remote", account="default") for name in ("one", "two")},
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
    print(f"| request ({args.cards} cards, {3 * args.cards} ways) | candidates | p50 ms | p99 ms |")
    print("|---|--:|--:|--:|")
    for name, policy, fields in REQUESTS:
        facts = make_facts(args.cards, policy)
        request = VideoRequest.model_validate({"prompt": "a paper boat", **fields})
        fitting = len(plan(request, facts).candidates)
        cuts = quantiles(measure(request, facts, args.rounds), n=100)
        print(f"| {name} | {fitting} | {cuts[49]:.3f} | {cuts[98]:.3f} |")


if __name__ == "__main__":
    main()
