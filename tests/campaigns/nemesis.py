"""What goes wrong: kills at named points and at random moments, stopped processes, lost and full disks."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from .deployment import Deployment
from .load import SLOW_MS, Load
from .machine import family
from .points import ON_DEATH, ON_EXPIRY, ON_TERMINATION, Point
from .postgres import Postgres

REACHED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.01
PROVOKE_EVERY_S = 5.0
LEASE_S = 8.0
RENDERING = (
    "SELECT a.id, fence, device FROM attempts a JOIN videos v ON v.id = a.video_id WHERE a.state = 'running'"
    f" AND a.kind = 'local' AND CAST(v.request AS TEXT) LIKE '%{SLOW_MS}%'"
)
"""A slot whose render takes long enough to be interrupted by the end of its process."""

EXPIRE = (
    "UPDATE videos SET expires_at = completed_at WHERE id IN (SELECT id FROM videos"
    " WHERE status = 'completed' AND expires_at IS NULL ORDER BY id LIMIT 2)"
)
"""The oldest two: nobody looks at them any more."""

ELDEST = 0.35
"""How often the eldest of a process's family is killed, and all with it; else any one of them."""

Say = Callable[[str], None]


def at_points(
    deployment: Deployment, points: Sequence[Point], times: int, dice: random.Random, say: Say
) -> list[str]:
    """Kill whoever passes each point, so many times; the names of those that nobody passed in time."""
    missed: list[str] = []
    told: set[tuple[str, int]] = set()
    for number, point in enumerate(points, start=1):
        passages = (1, *(dice.randrange(1, 4) for _ in range(times - 1)))
        if point.name in ON_TERMINATION:
            passages = (1,) * times
        missed += [f"{point.name} ({nth})" for nth in passages if not _once(deployment, point, nth, told)]
        say(f"point {number} of {len(points)}: {point.name}")
    return missed


def _once(deployment: Deployment, point: Point, nth: int, told: set[tuple[str, int]]) -> bool:
    armed = deployment.crash_dir / point.name
    staged = deployment.crash_dir / f".{point.name}"
    staged.mkdir()
    for token in range(1, nth + 1):
        (staged / str(token)).touch()
    staged.rename(armed)
    until = time.monotonic() + REACHED_WITHIN_S
    tell_at = time.monotonic()
    while (armed / "1").exists() and time.monotonic() < until:
        if time.monotonic() >= tell_at:
            tell_at = time.monotonic() + _provoke(deployment, point, told)
        time.sleep(LOOK_EVERY_S)
    deployment.last_death = time.time()
    reached = not (armed / "1").exists()
    deployment.deaths += reached
    shutil.rmtree(armed)
    return reached


def _provoke(deployment: Deployment, point: Point, told: set[tuple[str, int]]) -> float:
    """Bring a point about that the load alone does not reach; in how many seconds to look again.

    ``told``: the claims (attempt, fence) in whose middle a process was told to stop; they may look as if they
    still ran, until they are recovered.
    """
    try:
        if point.name in ON_EXPIRY:
            deployment.write(EXPIRE)
        elif point.name in ON_DEATH:
            deployment.kill(family(deployment.children[-1].pid)[-1])
        elif point.name in ON_TERMINATION:
            running = {(row["id"], row["fence"]): row["device"] for row in deployment.read(RENDERING)}
            fresh = running.keys() - told
            if not fresh:
                return LOOK_EVERY_S
            told |= fresh
            _terminate(deployment, running[fresh.pop()])
    except (sqlite3.Error, psycopg.Error, IndexError):  # busy, or being started
        return LOOK_EVERY_S
    return PROVOKE_EVERY_S


def _terminate(deployment: Deployment, device: str) -> None:
    """Tell the process that renders on this device to stop, as an operator would."""
    slot = device.split()[0]
    child = next((child for child in deployment.children if slot in child.command), deployment.children[0])
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)


def at_random(
    deployment: Deployment,
    load: Load,
    kills: int,
    jobs: int,
    dice: random.Random,
    say: Say,
    gap_s: float,
    *,
    eldest: float = ELDEST,
) -> None:
    """kill -9 of one process after another, whichever, spread over so many jobs."""
    for number in range(1, kills + 1):
        time.sleep(dice.uniform(0, 2 * gap_s))
        until = time.monotonic() + REACHED_WITHIN_S
        while load.begun < jobs * number // kills and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
        child = dice.choice(deployment.children)
        members = family(child.pid)
        if members:
            deployment.kill(members[0] if dice.random() < eldest else dice.choice(members))
        if number % 20 == 0:
            say(f"{number} of {kills} kills, {load.begun} jobs begun")


def stopped_past_the_lease(deployment: Deployment, times: int, dice: random.Random, say: Say) -> None:
    """SIGSTOP a worker and its slots for longer than its lease lasts, then let it go on."""
    for number in range(1, times + 1):
        time.sleep(dice.uniform(0.5, 2))
        members = family(dice.choice(deployment.children[1:]).pid)
        deployment.last_death = time.time()
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(LEASE_S + dice.uniform(2, 6))
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        deployment.deaths += 1
        say(f"stopped and let go {number} of {times}")


def database_stopped(
    deployment: Deployment, postgres: Postgres, times: int, dice: random.Random, say: Say
) -> None:
    """Stop Postgres at once and start it again, and every third time kill a process meanwhile."""
    for number in range(1, times + 1):
        time.sleep(dice.uniform(1, 4))
        deployment.last_death = time.time()
        postgres.stop_immediately()
        deployment.deaths += 1
        time.sleep(dice.uniform(0, 2))
        if number % 3 == 0:
            deployment.kill(dice.choice(deployment.children).pid)
        postgres.start()
        say(f"stopped and started Postgres {number} of {times}")


@contextmanager
def small_disk(at: Path, megabytes: int) -> Iterator[bool]:
    """A file system of so many megabytes at ``at``; False if this machine does not let us mount one."""
    at.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(at)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(at)], check=True)


def full_disk(deployment: Deployment, disk: Path, times: int, dice: random.Random, say: Say) -> None:
    """Fill the disk to its last byte for some seconds, kill a process meanwhile, and free it again."""
    ballast = disk / "ballast"
    for number in range(1, times + 1):
        time.sleep(dice.uniform(1, 3))
        _fill(ballast)
        time.sleep(dice.uniform(1, 4))
        if number % 2 == 0:
            deployment.kill(dice.choice(family(deployment.children[0].pid) or [deployment.children[0].pid]))
            time.sleep(dice.uniform(0, 2))
        ballast.unlink()
        say(f"filled and freed the disk {number} of {times}")


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
