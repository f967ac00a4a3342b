"""``make campaign-remote``: jobs at every provider, with faults, while the gateway is killed again and again.

The sandbox is every provider, in a process of its own that nobody kills: its bill is the witness. Clients
send each create again, under its idempotency key, until it is answered; the gateway is killed (SIGKILL) at
random moments and started again; a caretaker resets accounts that a fault has stopped. When all is quiet the
checker judges. The exit status is 0 only if every job ended as it may, nothing was ordered or charged twice,
and what the providers bill is what the ledger says they cost, but for the attempts of unknown outcome that
are listed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import nemesis
from .caretaker import Caretaker
from .checker import Evidence, check, read_sandbox_bill
from .deployment import Child, Deployment, OnPostgres, plain_environment
from .load import Load
from .machine import temporary_folder
from .orders import kinds
from .postgres import Postgres
from .remote_report import Result, report, save

PROVIDERS = ("dashscope_wan", "gemini_omni", "kling", "openai_videos", "seedance", "veo")
DEADLINE_S = 4 * 3600
UNLOOKABLE = frozenset({"gemini_omni", "veo"})
"""Their APIs have no list of jobs in which one whose answer was lost could be found."""

QUIET_WITHIN_S = 180.0
LOOK_EVERY_S = 2.0

MARKER = re.compile(r"\[\[sandbox:([^\]]+)\]\]")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything. ``faults`` is a share of the jobs."""

    jobs: int = 2000
    kills: int = 20
    faults: float = 0.2
    clients: int = 60
    speed: float = 10.0
    tenants: int = 3
    within_s: float = 3600.0


QUICK = Size(jobs=60, kills=3, faults=0.3, clients=30, speed=40.0, tenants=1)
"""A minute on two cores that have nothing else to do."""


def sandbox(folder: Path, seed: int, speed: float) -> Child:
    """The providers, in a process of their own."""
    data_dir = folder / "providers"
    data_dir.mkdir()
    (data_dir / "config.yaml").write_text(json.dumps({"enabled_plugins": PROVIDERS}))
    command = ["sandbox", "--json", "--port", "0", "--data-dir", str(data_dir)]
    command += ["--speed", str(speed), "--seed", str(seed)]
    return Child("sandbox", command, folder / "sandbox.log", plain_environment())


def config(greeting: Mapping[str, Any]) -> dict[str, Any]:
    """A gateway whose accounts are the sandbox's."""
    origin = greeting["url"]
    plugins = dict(greeting["plugins"])
    for account in plugins["dashscope_wan"]["accounts"].values():
        account |= {"concurrent": 20, "submits_per_s": 10}  # what is usual is for life's speed
    return {
        "enabled_plugins": ["policies", *PROVIDERS],
        "plugins": plugins,
        "result_origins": [origin, origin.replace("//127.0.0.1:", "//localhost:")],
        "drain_s": 0,
    }


def run(seed: int, size: Size, folder: Path, postgres: Postgres | None = None) -> Result:
    """The campaign, from the first start to the verdict."""
    begun = time.monotonic()
    providers = sandbox(folder, seed, size.speed)
    deployment: Deployment | None = None
    try:
        providers.start()
        deployment = _deployment(folder / "gateway", config(providers.greeted()), postgres)
        key = deployment.start()
        tenants = [deployment.tenant(f"tenant-{number}") for number in range(size.tenants)]
        load = Load(deployment.port, tenants, seed=seed, clients=size.clients, kinds=kinds(size.faults))
        load.limit, load.deadline_s, load.look_every_s = size.jobs, DEADLINE_S, LOOK_EVERY_S
        load.passing = _passes
        caretaker = Caretaker(deployment, key)
        caretaker.start()
        load.start()
        dice = random.Random(seed)
        nemesis.at_random(deployment, load, size.kills, size.jobs, dice, _say, 1.0, eldest=1.0)
        _until_begun(load, size, begun)
        told = load.stop(QUIET_WITHIN_S)
        deployment.until_quiet(QUIET_WITHIN_S)
        caretaker.stop()
    finally:
        if deployment is not None:
            deployment.stop()
        providers.stop()
    evidence = Evidence(
        read=deployment.read,
        store=deployment.store,
        bill=read_sandbox_bill(folder / "providers" / "sandbox" / "sandbox.db"),
        told=told,
        unlookable=UNLOOKABLE,
    )
    verdict = check(evidence)
    ends = _ends(deployment)
    return Result(
        seed=seed,
        verdict=verdict,
        bill=evidence.bill,
        kills=deployment.deaths,
        faulty=sum(sum(counted.values()) for fault, counted in ends.items() if fault),
        ends=ends,
        wrong=_wrong(load, deployment, size),
        resets=caretaker.acts,
        asked_again=load.asked_again,
        wall_s=time.monotonic() - begun,
        logs=deployment.tail(200) if verdict.violations else "",
    )


def _deployment(folder: Path, config: Mapping[str, object], postgres: Postgres | None) -> Deployment:
    if postgres is None:
        made = Deployment(folder, config)
    else:
        made = OnPostgres(folder, config, postgres, apart=False, workers=1)
    made.configure(public_url=made.url)  # where the providers call back
    return made


def _passes(status: int, body: bytes) -> bool:
    """A refusal because the operator has not come yet."""
    return status == 422 and (b'"account_open"' in body or b"that the model is gone" in body)


def _until_begun(load: Load, size: Size, since: float) -> None:
    while load.begun < size.jobs and time.monotonic() - since < size.within_s:
        time.sleep(LOOK_EVERY_S)


def _ends(deployment: Deployment) -> Mapping[str, Counter[str]]:
    """How the jobs ended, by the fault in their prompts; without one under ''."""
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    for row in deployment.read("SELECT request, status, error_code FROM videos"):
        request = json.loads(row["request"]) if isinstance(row["request"], str) else row["request"]
        fault = MARKER.search(request["prompt"])
        ends[fault[1] if fault else ""][row["error_code"] or row["status"]] += 1
    return ends


def _wrong(load: Load, deployment: Deployment, size: Size) -> list[str]:
    found = [f"{count} times {answer}" for answer, count in load.odd.items()]
    found += deployment.self_exits
    if len(load.told) != size.jobs:
        found.append(f"{len(load.told)} of {size.jobs} jobs were answered and followed to their end")
    if deployment.deaths != size.kills:
        found.append(f"{deployment.deaths} of {size.kills} kills were made")
    return found


def _say(what: str) -> None:
    print(f"  … {what}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="campaign-remote", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--jobs", type=int, default=Size.jobs)
    parser.add_argument("--kills", type=int, default=Size.kills)
    parser.add_argument("--faults", type=float, default=Size.faults, help="share of the jobs that have one")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--out", type=Path, default=Path("build/campaign-remote.json"))
    parser.add_argument("--keep", action="store_true", help="leave the folder for inspection")
    return parser.parse_args()


def main() -> int:
    """Run the campaign; 0 if every promise was kept."""
    asked = _arguments()
    size = Size(jobs=asked.jobs, kills=asked.kills, faults=asked.faults)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    print(f"seed {asked.seed}   (SEED={asked.seed} replays it)", flush=True)
    postgres = Postgres() if asked.database == "postgres" else None
    with temporary_folder("reelgate-remote-", keep=asked.keep) as folder:
        try:
            if postgres is not None:
                postgres.start()
            result = run(asked.seed, size, folder, postgres)
        finally:
            if postgres is not None:
                postgres.remove()
    save(result, asked.out)
    print(report(result))
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
