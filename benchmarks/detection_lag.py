"""How soon the end of a job is seen: ``python -m benchmarks.detection_lag [--jobs 1000 10000] [--webhooks]``.

So many jobs are under way at once at the sandbox's providers (a process of its own), and one process watches
them. Lag is the time from a job's end, by the sandbox's record, until the gateway has it on record. Jobs last
20 s for every thousand of them, each up to 30% more or less, so that all are under way before the first ends:
then a look is due every 2 s (a tenth of the age) with 1,000, and every 10 s with 10,000, unless a provider
asks for other times. Kling and Seedance are asked for many jobs in one call, the others job by job. With
``--webhooks`` the two that call back about each job do so, to an API process, and no other takes part.
Nothing is settled: what has ended is taken off the watcher's list, as whoever settles it would do.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

import sqlalchemy as sa

from benchmarks._gateway.machine import described, machine
from benchmarks._gateway.postgres import postgres
from benchmarks._gateway.processes import await_line, end_in_order, free_port, memory_mb, running
from benchmarks._gateway.servers import API_ALONE, REELGATE, serving
from benchmarks._gateway.tables import markdown
from benchmarks._lag import watcher
from benchmarks._lag.fill import fill
from gateway.db import Database
from gateway.db.tables import attempts
from gateway.sandbox.app import bill_path, folder_in
from gateway.settings import load_settings

MODELS = ("kling-2.6", "seedance-1.5-pro", "wan-2.5", "veo-3.1", "gemini-omni-1.1")
CALLING_BACK = ("kling-2.6", "seedance-1.5-pro")
LASTS_S = 45.0
"""How long a job of the sandbox lasts, more or less, at speed 1."""

SHORTEST_S, SECONDS_PER_JOB = 20.0, 0.02
LAST_WAIT_S = 60.0
LIMIT_S = 3600
_TURN_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Lags:
    """The lags of one adapter's jobs, in seconds; ``unseen`` are those whose end was not seen in time."""

    adapter: str
    seconds: tuple[float, ...]
    unseen: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run: its lags, and what the watching process took meanwhile. ``early``: jobs that ended before it
    was there, which are left out. ``load``: processes that wanted a core at its start and at its end."""

    jobs: int
    webhooks: bool
    fill_s: float
    early: int
    lags: tuple[Lags, ...]
    peak_mb: float
    cpu_share: float
    statements_per_s: float
    load: tuple[float, float]


def measure(
    jobs: int, models: Sequence[str], webhooks: bool, folder: Path, database_url: str | None
) -> Result:
    """Fill, watch, and read both records."""
    lasts_s, load = max(SHORTEST_S, jobs * SECONDS_PER_JOB), os.getloadavg()[0]
    data = folder / "data"
    data.mkdir(parents=True)
    env = {} if database_url is None else {"REELGATE_DATABASE_URL": database_url}
    with ExitStack() as stack:
        env["REELGATE_SANDBOX_URL"] = stack.enter_context(_sandbox(folder, LASTS_S / lasts_s))
        if webhooks:
            port = str(free_port())
            env["REELGATE_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
            stack.enter_context(serving(data, env, (*API_ALONE, "--port", port)))
        overrides = {name.removeprefix("REELGATE_").lower(): value for name, value in env.items()}
        settings = load_settings(data, **overrides)
        since = time.time()
        fill(settings, models, jobs)
        filled = time.time()
        db = Database(settings.database_url)
        with _watching(folder, data, env) as (pid, figures):
            began, spent = time.time(), _cpu_s(pid)
            _until_ended(db, began + lasts_s * 1.3 + LAST_WAIT_S)
            share = (_cpu_s(pid) - spent) / (time.time() - began)
            peak = memory_mb(pid, "VmHWM")
        counted = json.loads(figures.read_text())
        ends = _ends(bill_path(folder_in(folder)))
        lags = _lags(db, {job: end for job, end in ends.items() if end >= began})
        db.close()
    return Result(
        jobs=jobs,
        webhooks=webhooks,
        fill_s=filled - since,
        early=sum(end < began for end in ends.values()),
        lags=lags,
        peak_mb=peak,
        cpu_share=share,
        statements_per_s=counted["statements"] / counted["seconds"],
        load=(load, os.getloadavg()[0]),
    )


@contextmanager
def _sandbox(folder: Path, speed: float) -> Iterator[str]:
    log = folder / "sandbox.log"
    command = [*REELGATE, "sandbox", "--json", "--port", "0", "--speed", f"{speed}", "--data-dir"]
    with running([*command, str(folder)], log=log, cwd=folder) as process:
        yield json.loads(await_line(process, log, r'^\{"url": .*\}$')[0])["url"]


@contextmanager
def _watching(folder: Path, data: Path, env: Mapping[str, str]) -> Iterator[tuple[int, Path]]:
    """The watching process: its pid, and the file with its figures once it has ended."""
    log, figures = folder / "watcher.log", folder / "watcher.json"
    command = [sys.executable, str(watcher.__file__), str(data), str(figures)]
    with running(command, log=log, cwd=folder, env=env) as process:
        await_line(process, log, "^watching$")
        yield process.pid, figures


def _until_ended(db: Database, until: float) -> None:
    """Wait for the ends of all jobs, and take those off the watcher's list that wait to be settled."""
    over = ("fetching", "failed", "cancelled")
    left = sa.select(sa.func.count()).where(attempts.c.state.in_(("submitted", "queued", "running")))
    taken = attempts.update().where(attempts.c.state.in_(over), attempts.c.next_poll_at.is_not(None))
    while time.time() < until:
        time.sleep(_TURN_S)
        with db.write() as connection:
            connection.execute(taken.values(next_poll_at=None))
        with db.read() as connection:
            if connection.execute(left).scalar_one() == 0:
                return


def _cpu_s(pid: int) -> float:
    """Seconds of CPU so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ends(records: Path) -> dict[tuple[str, str], float]:
    """When each job ended, in seconds since 1970, by provider and id."""
    connection = sqlite3.connect(records)
    try:
        rows = connection.execute("SELECT provider, id, finished_at FROM jobs").fetchall()
    finally:
        connection.close()
    return {(provider, job_id): finished_at for provider, job_id, finished_at in rows}


def _lags(db: Database, ends: Mapping[tuple[str, str], float]) -> tuple[Lags, ...]:
    query = sa.select(attempts.c.adapter, attempts.c.upstream_id, attempts.c.finished_at)
    with db.read() as connection:
        rows = connection.execute(query.where(attempts.c.upstream_id.is_not(None))).all()
    # one provider names a job by its whole path, whose end is the id
    seen = {(row.adapter, row.upstream_id.rpartition("/")[2]): row.finished_at for row in rows}
    found = []
    for adapter in sorted({adapter for adapter, _ in ends}):
        mine = [(seen.get(job), end) for job, end in ends.items() if job[0] == adapter]
        lags = sorted(at.timestamp() - end for at, end in mine if at is not None)
        found.append(Lags(adapter=adapter, seconds=tuple(lags), unseen=len(mine) - len(lags)))
    return tuple(found)


def lag_table(results: Sequence[Result]) -> str:
    """p50, p99 and longest lag, of all and by adapter."""
    rows = []
    for result in results:
        every = sorted(lag for one in result.lags for lag in one.seconds)
        total = Lags(adapter="all", seconds=tuple(every), unseen=sum(one.unseen for one in result.lags))
        for one in (total, *result.lags):
            cuts = quantiles(one.seconds, n=100)
            figures = (f"{cuts[49]:.2f}", f"{cuts[98]:.2f}", f"{one.seconds[-1]:.2f}", str(one.unseen))
            rows.append([_name(result), one.adapter, f"{len(one.seconds):,}", *figures])
    return markdown(["", "adapter", "ends seen", "p50 s", "p99 s", "longest s", "unseen"], rows)


def process_table(results: Sequence[Result]) -> str:
    """What the watching process took."""
    rows = []
    for result in results:
        took = (f"{result.peak_mb:.0f}", f"{result.cpu_share:.0%}", f"{result.statements_per_s:,.0f}")
        load = " to ".join(f"{one:.1f}" for one in result.load)
        rows.append([_name(result), load, *took, f"{result.fill_s:.0f}", str(result.early)])
    heads = ["", "load", "peak MB", "CPU of a core", "SQL statements/s", "filled in s", "ended before"]
    return markdown(heads, rows)


def _name(result: Result) -> str:
    return f"{result.jobs:,} jobs, {'webhooks' if result.webhooks else 'polling'}"


def run(args: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
    """Measure every size, print, and write the raw figures."""
    about, results = machine(), []
    for jobs in args.jobs:
        own = folder / str(jobs)
        own.mkdir()
        url = args.database_url
        if args.postgres:
            url = stack.enter_context(postgres(own / "postgres", None))
        models = args.models or (CALLING_BACK if args.webhooks else MODELS)
        results.append(measure(jobs, models, args.webhooks, own, url))
    database = "SQLite" if url is None else "Postgres"
    print(f"{described(about)}\nOn {database}:\n\n{lag_table(results)}\n\n{process_table(results)}")
    if args.json is not None:
        raw = {"machine": about, "database": database, "results": [asdict(one) for one in results]}
        args.json.write_text(json.dumps(raw, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000], help="how many at once")
    parser.add_argument("--models", nargs="+", help=f"by default {', '.join(MODELS)}")
    parser.add_argument("--webhooks", action="store_true", help="providers call back")
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of our own, not SQLite")
    parser.add_argument("--database-url", help="on this Postgres (postgresql+psycopg://…), which is empty")
    parser.add_argument("--json", type=Path, help="write every lag there")
    args = parser.parse_args()
    end_in_order(LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="reelgate-benchmark-") as folder, ExitStack() as stack:
        run(args, Path(folder), stack)


if __name__ == "__main__":
    main()
