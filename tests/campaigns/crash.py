"""``make campaign-crash``: processes killed at every named point and at random, disks and databases failing.

Each phase has a gateway of its own and clients that keep it busy; when it is over, and quiet, the checker
judges. The exit status is 0 only if nothing was lost, ordered twice, charged twice or left unbalanced.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import nemesis
from .checker import Evidence, Verdict, check, read_echo_bill
from .deployment import Deployment, OnPostgres
from .load import ECHO, WAN, Kind, Load
from .machine import temporary_folder
from .points import POINTS, Point
from .postgres import Postgres
from .recovery import Recovery
from .report import Result, heading, line, remarks, save

QUIET_WITHIN_S = 180.0
CLIENTS = 24
FEW = 10
"""As many clients where a process dies every other second, so that what they send does not pile up."""

TENANTS = ("north", "south", "west")
AT_ONCE = 4
"""So many videos of the last tenant may be under way: the rest are parked."""

ECHO_ONLY = {"enabled_plugins": ["echo", "policies"], "drain_s": 0, "checkpoint_every_s": 0.05}
WITH_WAN = {"enabled_plugins": ["policies", "wan_local"]}
POISON = frozenset({"failed worker_lost"})
"""A job that happens to pass three armed points in three slots looks like one that kills its workers."""

NO_SPACE = frozenset({"failed storage_unavailable"})

QUICK_POINTS = ("accept.unanswered", "submit.taken", "render.stored", "settle.uncommitted", "store.staged")

Act = Callable[[Deployment, Load, random.Random], Sequence[str]]
"""Lets things go wrong; returns the names of the crash points that nobody passed."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    points: tuple[Point, ...]
    times: int
    kills: int
    jobs: int
    stops: int
    zombies: int
    fills: int
    wan_jobs: int
    wan_kills: int
    deadline_s: int = 150
    gap_s: float = 1.0


FULL = Size(
    points=POINTS, times=3, kills=200, jobs=3000, stops=20, zombies=10, fills=10, wan_jobs=6, wan_kills=3
)
QUICK = Size(
    points=tuple(point for point in POINTS if point.name in QUICK_POINTS),
    times=1,
    kills=5,
    jobs=75,
    stops=2,
    zombies=1,
    fills=1,
    wan_jobs=1,
    wan_kills=1,
    deadline_s=40,
)


class Campaign:
    """Runs phases one after another and keeps their results."""

    def __init__(self, seed: int, size: Size, folder: Path, only: str) -> None:
        self.results: list[Result] = []
        self._seed = seed
        self._size = size
        self._folder = folder
        self._only = only

    def phase(
        self,
        name: str,
        make: Callable[[Path], Deployment],
        act: Act,
        *,
        bounded: bool = False,
        kinds: Sequence[Kind] = ECHO,
        clients: int = CLIENTS,
        more_ends: frozenset[str] = frozenset(),
        at: str = "",
    ) -> None:
        """One gateway, its clients and its nemesis, from first start to verdict."""
        if self._only not in name:
            return
        begun = time.monotonic()
        seed = f"{self._seed} {name}"
        folder = self._folder / (at or name.replace(" ", "-").replace(",", ""))
        deployment = make(folder)
        load: Load | None = None
        try:
            deployment.start()
            tenants = [deployment.tenant(name) for name in TENANTS]
            deployment.write(f"UPDATE tenants SET max_active = {AT_ONCE} WHERE name = '{TENANTS[-1]}'")
            load = Load(deployment.port, tenants, seed=hash_of(seed), clients=clients, kinds=kinds)
            load.more_ends = more_ends
            load.deadline_s = self._size.deadline_s
            recovery = Recovery(deployment)
            recovery.start()
            load.start()
            missed = act(deployment, load, random.Random(seed))
            told = load.stop(QUIET_WITHIN_S)
            deployment.until_quiet(QUIET_WITHIN_S)
            lost_work = recovery.stop()
        finally:
            deployment.stop()
        verdict = check(
            Evidence(
                read=deployment.read,
                store=deployment.store,
                bill=read_echo_bill(deployment.bill),
                told=told,
            )
        )
        self._add(
            Result(
                phase=name,
                bounded=bounded,
                kills=deployment.deaths,
                verdict=verdict,
                recovery_s=recovery.seconds,
                slowest=recovery.slowest,
                never_recovered=lost_work,
                missed=missed,
                unanswered=load.unanswered,
                odd_answers=load.odd,
                self_exits=deployment.self_exits,
                wall_s=time.monotonic() - begun,
                logs="" if not verdict.violations else deployment.tail(200),
            )
        )

    def skip(self, name: str, why: str) -> None:
        """A phase that this machine does not allow."""
        nothing = Verdict(jobs=0, ends={}, violations=(), orphans=0)
        empty = Result(
            phase=name,
            bounded=False,
            kills=0,
            verdict=nothing,
            recovery_s=(),
            slowest=(),
            never_recovered=0,
            missed=(),
            unanswered=0,
            odd_answers={},
            self_exits=(),
            wall_s=0,
            skipped=why,
        )
        self._add(empty)

    def on_sqlite(self) -> None:
        """One ``reelgate serve`` with two slots."""
        config = {**ECHO_ONLY, "pools": {"cpu": {"devices": ["cpu", "cpu"], "hourly_usd": "0.10"}}}
        make = partial(Deployment, config=config)
        self.phase("SQLite, named points", make, self._points, clients=FEW, more_ends=POISON)
        self.phase("SQLite, random kills", make, self._random)
        with nemesis.small_disk(self._folder / "disk", megabytes=64) as mounted:
            if mounted:
                self.phase("SQLite, full disk", make, self._disk, at="disk/gateway", more_ends=NO_SPACE)
            else:
                self.skip("SQLite, full disk", "a small file system cannot be mounted here")
        self.phase("SQLite, tiny Wan", partial(Deployment, config=WITH_WAN), self._wan, kinds=WAN, clients=2)

    def on_postgres(self, postgres: Postgres) -> None:
        """An API process and three workers of one slot each."""
        config = {**ECHO_ONLY, "pools": {"cpu": {"devices": ["cpu"] * 3, "hourly_usd": "0.10"}}}
        apart = partial(OnPostgres, config=config, postgres=postgres, apart=True)
        together = partial(OnPostgres, config=config, postgres=postgres, apart=False)
        self.phase(
            "Postgres, named points", together, self._points, bounded=True, clients=FEW, more_ends=POISON
        )
        self.phase("Postgres, random kills", apart, self._random, bounded=True)
        self.phase("Postgres, workers stopped", apart, self._zombies, bounded=True)
        self.phase("Postgres, stopped immediately", together, partial(self._restarts, postgres))
        wan = partial(OnPostgres, config=WITH_WAN, postgres=postgres, apart=False, workers=1)
        self.phase("Postgres, tiny Wan", wan, self._wan, kinds=WAN, clients=2)

    def _points(self, deployment: Deployment, load: Load, dice: random.Random) -> Sequence[str]:
        return nemesis.at_points(deployment, self._size.points, self._size.times, dice, _say)

    def _random(self, deployment: Deployment, load: Load, dice: random.Random) -> Sequence[str]:
        size = self._size
        nemesis.at_random(deployment, load, size.kills, size.jobs, dice, _say, size.gap_s)
        return ()

    def _wan(self, deployment: Deployment, load: Load, dice: random.Random) -> Sequence[str]:
        size = self._size
        nemesis.at_random(deployment, load, size.wan_kills, size.wan_jobs, dice, _say, 8 * size.gap_s)
        return ()

    def _disk(self, deployment: Deployment, load: Load, dice: random.Random) -> Sequence[str]:
        nemesis.full_disk(deployment, self._folder / "disk", self._size.fills, dice, _say)
        return ()

    def _zombies(self, deployment: Deployment, load: Load, dice: random.Random) -> Sequence[str]:
        nemesis.stopped_past_the_lease(deployment, self._size.zombies, dice, _say)
        return ()

    def _restarts(
        self, postgres: Postgres, deployment: Deployment, load: Load, dice: random.Random
    ) -> Sequence[str]:
        nemesis.database_stopped(deployment, postgres, self._size.stops, dice, _say)
        return ()

    def _add(self, result: Result) -> None:
        self.results.append(result)
        print(line(result.cells()))
        for remark in remarks(result):
            print(f"    {remark}")
        sys.stdout.flush()


def hash_of(seed: str) -> int:
    """A number from a text, the same in every process."""
    return random.Random(seed).randrange(2**32)


def _say(what: str) -> None:
    print(f"  … {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="campaign-crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--quick", action="store_true", help="a few minutes instead of forty")
    parser.add_argument("--database", choices=("both", "sqlite", "postgres"), default="both")
    parser.add_argument("--phase", default="", help="only phases whose name contains this")
    parser.add_argument("--point", default="", help="only named points whose name contains this")
    parser.add_argument("--kills", type=int, help="random kills per database")
    parser.add_argument("--jobs", type=int, help="jobs of the random kills per database")
    parser.add_argument("--out", type=Path, default=Path("build/campaign-crash.json"))
    parser.add_argument("--keep", action="store_true", help="leave the folders for inspection")
    return parser.parse_args()


def main() -> int:
    """Run the campaign; 0 if every promise was kept."""
    asked = _arguments()
    size = QUICK if asked.quick else FULL
    points = tuple(point for point in size.points if asked.point in point.name)
    size = replace(size, points=points, kills=asked.kills or size.kills, jobs=asked.jobs or size.jobs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    print(f"seed {asked.seed}   (SEED={asked.seed} replays it)")
    print(heading(), flush=True)
    with temporary_folder("reelgate-crash-", keep=asked.keep) as folder:
        campaign = Campaign(asked.seed, size, folder, asked.phase)
        try:
            if asked.database != "postgres":
                campaign.on_sqlite()
            if asked.database != "sqlite":
                postgres = Postgres()
                try:
                    postgres.start()
                    campaign.on_postgres(postgres)
                finally:
                    postgres.remove()
        finally:
            save(campaign.results, asked.seed, asked.out)
    print(f"\n{heading()}")
    for result in campaign.results:
        print(line(result.cells()))
    broken = [result.phase for result in campaign.results if not result.ok]
    print(f"seed {asked.seed}: " + (f"BROKEN in {', '.join(broken)}" if broken else "every promise was kept"))
    print(f"in full: {asked.out}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
