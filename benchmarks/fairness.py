"""Whether a flood delays the others: ``python -m benchmarks.fairness [--postgres] [--json FILE]``.

Tenant A sends 500 jobs to a device pool, then B and C ten each. How long did B's and C's wait for a slot,
beside the same jobs on an empty queue? An API process and a worker with two slots, as users start them; the
model is echo, 50 ms a job and what the gateway takes itself. What is reported is each video's ``queued_ms``:
from its create until a slot took it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks._gateway.client import Answer, BadAnswer, Call, Connection, call
from benchmarks._gateway.machine import described, machine
from benchmarks._gateway.postgres import postgres
from benchmarks._gateway.processes import end_in_order
from benchmarks._gateway.servers import API_ALONE, ask_json, bearer, new_key, serving, working
from benchmarks._gateway.tables import markdown

FEW, CLIENTS = 10, 4
LIMIT_S, JOBS_S = 600, 420
_POLL_S = 0.5

_CONFIG = {
    "pools": {"cpu": {"devices": ["cpu", "cpu"], "hourly_usd": "0.10"}},
    "plugins": {"echo": {"latency_ms": 50}},
}
_BODY = {"model": "echo", "prompt": "A paper boat", "size": "64x64", "seconds": "0.5", "fps": 4}


@dataclass(frozen=True)
class Waits:
    """How long one tenant's jobs waited for a slot, in ms, in the order of their creates."""

    tenant: str
    queue: str
    queued_ms: tuple[int, ...]


class Sender:
    """One tenant at the API."""

    def __init__(self, url: str, tenant: str, key: str) -> None:
        self._videos, self._auth = f"{url}/v1/videos", bearer(key)
        self.tenant = tenant

    async def send(self, jobs: int) -> list[str]:
        """Create so many videos over a few connections; returns their ids."""
        asked = call("POST", self._videos, self._auth, json.dumps(_BODY).encode(), "application/json")
        turns = iter(range(jobs))
        sent = await asyncio.gather(*(_repeat(asked, turns) for _ in range(min(CLIENTS, jobs))))
        return [json.loads(answer.body)["id"] for answers in sent for answer in answers]

    async def waits(self, ids: Sequence[str], queue: str, until: float) -> Waits:
        """Wait until all are made, and read what each waited for its slot.

        Raises:
            BadAnswer: one failed, or is not done by then (in seconds of the monotonic clock).
        """
        queued = [await self._queued_ms(video_id, until) for video_id in ids]
        return Waits(self.tenant, queue, tuple(queued))

    async def _queued_ms(self, video_id: str, until: float) -> int:
        while True:
            video = await ask_json(call("GET", f"{self._videos}/{video_id}", self._auth))
            if video["status"] == "completed":
                return int(video["gateway"]["latency"]["queued_ms"])
            if video["status"] == "failed" or time.monotonic() > until:
                raise BadAnswer(f"a video of tenant {self.tenant} is not done: {video}")
            await asyncio.sleep(_POLL_S)


async def _repeat(asked: Call, turns: Iterable[int]) -> list[Answer]:
    connection = Connection()
    try:
        return [await connection.ask(asked) for _ in turns]
    finally:
        connection.close()


async def measure(senders: Sequence[Sender], flood: int) -> list[Waits]:
    """B and C on an empty queue, then behind A's flood; A's own waits come last."""
    first, *others = senders
    until = time.monotonic() + JOBS_S
    warm = await first.send(CLIENTS)
    await first.waits(warm, "warm-up", until)
    empty = await _send_and_wait(others, "empty", until)
    flooding = await first.send(flood)
    behind = await _send_and_wait(others, "behind A's flood", until)
    return [*empty, *behind, await first.waits(flooding, "its own flood", until)]


async def _send_and_wait(senders: Sequence[Sender], queue: str, until: float) -> list[Waits]:
    ids = await asyncio.gather(*(sender.send(FEW) for sender in senders))
    pairs = zip(senders, ids, strict=True)
    return await asyncio.gather(*(sender.waits(sent, queue, until) for sender, sent in pairs))


def table(waits: Sequence[Waits]) -> str:
    """p50 and longest wait of each tenant in each case."""
    rows = []
    for one in waits:
        figures = (f"{median(one.queued_ms):,.0f}", f"{max(one.queued_ms):,}")
        rows.append([one.tenant, one.queue, str(len(one.queued_ms)), *figures])
    return markdown(["tenant", "queue", "jobs", "waited p50 ms", "longest ms"], rows)


def run(args: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Start an API and a worker, measure, print, and write the raw figures."""
    env, about = {}, machine()
    if args.postgres or args.database_url:
        url = stack.enter_context(postgres(folder / "postgres", args.database_url))
        env["REELGATE_DATABASE_URL"] = url
    data = folder / "data"
    data.mkdir()
    (data / "config.yaml").write_text(json.dumps(_CONFIG))  # JSON is YAML
    _, url, _ = stack.enter_context(serving(data, env, API_ALONE))
    senders = [Sender(url, tenant, new_key(data, env, tenant)) for tenant in ("A", "B", "C")]
    stack.enter_context(working(data, env))
    waits = asyncio.run(measure(senders, args.flood))
    database = "Postgres" if env else "SQLite"
    print(f"{described(about)}\nOn {database}:\n\n{table(waits)}")
    if args.json is not None:
        raw = {"machine": about, "database": database, "waits": [asdict(one) for one in waits]}
        args.json.write_text(json.dumps(raw, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flood", type=int, default=500, help="how many jobs A sends")
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of our own, not SQLite")
    parser.add_argument("--database-url", help="on this Postgres (postgresql+psycopg://…)")
    parser.add_argument("--json", type=Path, help="write every wait there")
    args = parser.parse_args()
    end_in_order(LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="reelgate-benchmark-") as folder, ExitStack() as stack:
        run(args, Path(folder), stack)


if __name__ == "__main__":
    main()
