"""How fast the gateway itself is: ``python -m benchmarks.gateway [--quick] [--json FILE]``.

In one run on one machine, the servers by turns within every cell:

* this gateway as one API process, every create durable when it is answered, on SQLite and on Postgres;
* a FastAPI app that returns a constant (uvicorn, one worker): what no gateway on this stack can beat;
* LiteLLM's proxy (one worker, no database, nothing durable) with that app as its upstream, installed for the
  run in a throw-away environment. Its create waits for the upstream; ours leaves that to the workers.

Creates are forms, as OpenAI's client sends them; the content is the same clip for all. Every figure is the
median of the rounds. Servers and client share the cores. Only the installation goes beyond 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks._gateway import peer
from benchmarks._gateway.machine import described, machine
from benchmarks._gateway.measure import (
    Download,
    Memory,
    Speed,
    check_same_clip,
    measure_downloads,
    measure_speed,
    rounds_until,
    warm_up,
)
from benchmarks._gateway.postgres import facts, postgres
from benchmarks._gateway.processes import end_in_order, forget_peak, memory_mb
from benchmarks._gateway.servers import Target, constant, litellm, reelgate
from benchmarks._gateway.tables import download_table, memory_table, ratio_table, speed_table

SQLITE, POSTGRES, CONSTANT, PEER = "Reelgate, SQLite", "Reelgate, Postgres", "constant app", "LiteLLM"
LARGE_BYTES = 200_000_000
FILLER_SEED = 7
LIMIT_S = 600
SPEED_UNTIL_S, DOWNLOADS_UNTIL_S = 330, 420  # since the servers run; the rest is for what takes longer


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    rounds: int
    seconds: float
    download_rounds: int


FULL = Extent(rounds=5, seconds=2.0, download_rounds=3)
QUICK = Extent(rounds=2, seconds=0.5, download_rounds=1)


@dataclass(frozen=True)
class Result:
    """All that was measured."""

    speeds: list[Speed]
    downloads: list[Download]
    memory: list[Memory]


def measure(targets: Sequence[Target], clip: Path, large: Path, extent: Extent) -> Result:
    """Everything, on servers that run and have done nothing yet; fewer rounds where they take too long."""
    started = time.monotonic()
    for target in targets:
        target.serve_instead(clip)
    check_same_clip(targets, clip)
    rest = [memory_mb(target.pid) for target in targets]
    tell("warming up, then the rounds of create, status and content")
    warm_up(targets, extent.seconds / 2)
    for target in targets:
        forget_peak(target.pid)
    rounds = rounds_until(extent.rounds, started + SPEED_UNTIL_S)
    speeds = measure_speed(targets, rounds, extent.seconds)
    peaks = [memory_mb(target.pid, "VmHWM") for target in targets]
    memory = [
        Memory(target.name, at_rest, at_peak)
        for target, at_rest, at_peak in zip(targets, rest, peaks, strict=True)
    ]
    tell(f"downloads of {LARGE_BYTES:,} bytes")
    for target in targets:
        target.serve_instead(large)
    rounds = rounds_until(extent.download_rounds, started + DOWNLOADS_UNTIL_S)
    downloads = measure_downloads(targets, rounds, large.stat().st_size)
    return Result(speeds, downloads, memory)


def make_large(clip: Path, large: Path, length: int) -> None:
    """The clip and behind it an MP4 box to be skipped (ISO/IEC 14496-12, ``free``), so many bytes in all.

    What is in the box is random, as compressed video looks to whatever handles it.
    """
    content, random = clip.read_bytes(), Random(FILLER_SEED)
    free = length - len(content)
    with large.open("wb") as file:
        file.write(content + free.to_bytes(4, "big") + b"free")
        while left := length - file.tell():
            file.write(random.randbytes(min(left, 1 << 20)))


def find_peer(given: str | None, folder: Path) -> tuple[Path | None, str | None]:
    """LiteLLM's program, or why there is none."""
    if given is not None:
        return (None, "left out by --litellm none") if given == "none" else (Path(given).absolute(), None)
    tell(f"installing LiteLLM {peer.VERSION} for this run (--litellm none leaves it out)")
    try:
        return peer.install(folder), None
    except peer.NotInstalled as error:
        tell(f"LiteLLM could not be installed and is left out: {error}")
        return None, str(error)


def report(result: Result, targets: Sequence[Target], has_peer: bool) -> str:
    """The tables."""
    names, missing = [target.name for target in targets], [] if has_peer else [PEER]
    parts = (
        speed_table(result.speeds, names, missing),
        ratio_table(result.speeds, (SQLITE, POSTGRES), CONSTANT, PEER),
        download_table(result.downloads, names, missing),
        memory_table(result.memory, missing),
    )
    return "\n\n".join(parts)


def tell(line: str) -> None:
    """Say how far it is; the tables alone go to stdout."""
    print(f"-- {line}", file=sys.stderr, flush=True)


def run(args: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Start everything, measure, print, and write the raw figures."""
    extent = QUICK if args.quick else FULL
    about: dict[str, Any] = {"machine": machine()}
    program, why_not = find_peer(args.litellm, folder)
    tell("starting the servers")
    database_url = stack.enter_context(postgres(folder / "postgres", args.database_url))
    targets = [
        stack.enter_context(reelgate(SQLITE, folder, None)),
        stack.enter_context(reelgate(POSTGRES, folder, database_url)),
    ]
    clip, large, others = (folder / f"{name}.mp4" for name in ("clip", "large", "others"))
    for file in (clip, others):
        file.write_bytes(targets[0].clip.read_bytes())
    make_large(clip, large, LARGE_BYTES)
    targets.append(stack.enter_context(constant(CONSTANT, folder, others)))
    if program is not None:
        targets.append(stack.enter_context(litellm(PEER, folder, program, others)))

    result = measure(targets, clip, large, extent)
    about |= {
        "postgres": facts(database_url),
        "litellm": why_not if program is None else peer.versions(program),
        "clip_bytes": clip.stat().st_size,
        "large_bytes": LARGE_BYTES,
        **asdict(extent),
    }
    print(described(about["machine"]), "", sep="\n")
    print(report(result, targets, program is not None))
    if args.json is not None:
        args.json.write_text(json.dumps({**about, **asdict(result)}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under two minutes, for a first look")
    parser.add_argument("--json", type=Path, help="write the raw figures of every round there")
    parser.add_argument(
        "--database-url", help="this Postgres instead of one of our own (postgresql+psycopg://…)"
    )
    parser.add_argument("--litellm", metavar="PROGRAM", help="an installed litellm, or `none`")
    args = parser.parse_args()
    end_in_order(LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="reelgate-benchmark-") as folder, ExitStack() as stack:
        run(args, Path(folder), stack)


if __name__ == "__main__":
    main()
