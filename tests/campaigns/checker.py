"""Was anything lost, ordered twice, charged twice or left unbalanced? It shares no code with the app.

Plain SQL, the imitated providers' own bills, the files of the object store and what the clients were told.
The letters and numbers in the docstrings are the invariants of the reliability design.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
Read = Callable[[str], list[dict[str, Any]]]
"""Runs one SELECT and returns its rows by column name."""

MICRO = Decimal(1_000_000)
TERMINAL = ("completed", "failed")
ENDINGS = {"video.completed": "completed", "video.failed": "failed"}
VARIANTS = {"video", "thumbnail", "spritesheet"}

LOST, STUCK, WRONG_END = "lost", "stuck", "wrong end"
DOUBLE_SUBMIT, DOUBLE_CHARGE, UNBALANCED = "double submit", "double charge", "unbalanced"
BILL, FILE, HISTORY, TOLD, KEY = "bill", "file", "history", "told", "idempotency"


@dataclass(frozen=True)
class Violation:
    """One broken promise: which, of what, and the evidence in words."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """What one client was told of one job.

    ``ends`` are the endings that may happen to it (``completed``, or ``failed`` with a code); ``statuses``
    what it saw one after another; ``again`` the id that a repeated create was answered with; ``events`` the
    replayed history (number, type); ``content`` the sha256 of what it downloaded.
    """

    key: str
    tenant_id: str
    video_id: str
    ends: frozenset[str]
    statuses: tuple[str, ...] = ()
    again: str | None = None
    events: tuple[tuple[int, str], ...] | None = None
    content: str | None = None


@dataclass(frozen=True, kw_only=True)
class BilledJob:
    """One job that a provider took; ``usd`` is what it bills, 0 if it gave up or was stopped.

    ``tag`` is the attempt's id, where the provider keeps one; else the ``prompt`` tells whose job it is.
    """

    adapter: str
    id: str
    tag: str | None
    usd: Decimal
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is looked at. At ``unlookable`` adapters a job whose submit had no answer cannot be found."""

    read: Read
    store: Path
    bill: Sequence[BilledJob]
    told: Sequence[Told]
    unlookable: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """An attempt that was given up as unknown, and the job that its provider has of it, if it has one."""

    attempt_id: str
    adapter: str
    job: BilledJob | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found. ``orphans``: stored objects that no row names; a sweep is to remove them later.

    ``recorded``: what the ledger says that providers have cost, in micro-USD.
    """

    jobs: int
    ends: Mapping[str, int]
    violations: Sequence[Violation]
    orphans: int
    exposures: Sequence[Exposure] = ()
    recorded: int = 0

    def count(self, *kinds: str) -> int:
        """How many violations are of these kinds."""
        return sum(violation.kind in kinds for violation in self.violations)


def sqlite_reader(path: Path) -> Read:
    """Reads a SQLite file, which another process may be writing."""

    def read(sql: str) -> list[dict[str, Any]]:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql)]
        finally:
            connection.close()

    return read


def postgres_reader(url: str) -> Read:
    """Reads a Postgres database by its ``postgresql://`` URL."""
    import psycopg
    from psycopg.rows import dict_row

    def read(sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(url, row_factory=dict_row, connect_timeout=5) as connection:
            return connection.execute(sql.encode()).fetchall()

    return read


def check(evidence: Evidence) -> Verdict:
    """Hold everything against everything else."""
    read = evidence.read
    videos = {row["id"]: row for row in read("SELECT * FROM videos")}
    attempts = read("SELECT * FROM attempts ORDER BY video_id, number")
    ledger = _by_video(read("SELECT * FROM ledger_entries"))
    files = _by_video(read("SELECT * FROM artefacts"))
    owned = _owned(videos, attempts, evidence.bill)
    violations = [
        *_accepted(videos, evidence.told),
        *_finished(videos, attempts),
        *_submits(attempts, owned, evidence.unlookable),
        *_tenant_money(videos, ledger, files),
        *_provider_money(attempts, ledger, owned),
        *_histories(videos, _by_video(read("SELECT * FROM events ORDER BY video_id, seq")), evidence.told),
        *_keys(videos, read("SELECT * FROM idempotency_keys"), evidence.told),
        *_artefacts(videos, files, evidence),
    ]
    return Verdict(
        jobs=len(videos),
        ends=Counter(_end(row) for row in videos.values()),
        violations=violations,
        orphans=_orphans(evidence, files),
        exposures=[
            Exposure(
                attempt_id=row["id"], adapter=row["adapter"], job=next(iter(owned.get(row["id"], ())), None)
            )
            for row in attempts
            if row["state"] == "outcome_unknown"
        ],
        recorded=sum(
            entry["amount_micro_usd"]
            for entries in ledger.values()
            for entry in entries
            if entry["kind"] == "actual"
        ),
    )


def _accepted(videos: Mapping[str, Row], told: Sequence[Told]) -> Iterator[Violation]:
    """I1, I8: what was answered with 200 is recorded, ends as it may, and as its client was told."""
    for job in told:
        row = videos.get(job.video_id)
        if row is None:
            yield Violation(LOST, job.video_id, f"accepted under {job.key}, and there is no such video")
            continue
        end = _end(row)
        if row["status"] in TERMINAL and end not in job.ends:
            yield Violation(WRONG_END, job.video_id, f"ended {end!r}, may end {sorted(job.ends)}")
        last = next((status for status in job.statuses if status in TERMINAL), None)
        if last is not None and {*job.statuses[job.statuses.index(last) :], row["status"]} != {last}:
            yield Violation(TOLD, job.video_id, f"told {job.statuses}, and it is {row['status']}")
        if row["tenant_id"] != job.tenant_id:
            yield Violation(TOLD, job.video_id, f"of tenant {row['tenant_id']}, sent by {job.tenant_id}")


def _finished(videos: Mapping[str, Row], attempts: Sequence[Row]) -> Iterator[Violation]:
    """I11: after the quiet nothing is left undone, and a finished video has no attempt at work."""
    for video_id, row in videos.items():
        if row["status"] not in TERMINAL:
            yield Violation(STUCK, video_id, f"is still {row['status']}")
    for row in attempts:
        if row["settled_at"] is None:
            yield Violation(STUCK, row["id"], f"{row['state']}, and its books are open")
    for video_id, tries in _by_video(attempts).items():
        if [row["number"] for row in tries] != list(range(1, len(tries) + 1)):
            yield Violation(HISTORY, video_id, f"attempts {[row['number'] for row in tries]}")


def read_echo_bill(path: Path) -> list[BilledJob]:
    """The imitated provider's own record, line by line."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    stopped = {line["id"] for line in lines if line["event"] == "cancel"}
    return [
        BilledJob(
            adapter="echo_remote",
            id=line["id"],
            tag=line["tag"],
            usd=Decimal(0 if line["id"] in stopped else line["usd"]),
        )
        for line in lines
        if line["event"] == "submit"
    ]


def read_sandbox_bill(path: Path) -> list[BilledJob]:
    """The bills of all that the sandbox imitates, once every job that it took is over."""
    lines = sqlite_reader(path)("SELECT * FROM bill ORDER BY rowid")
    return [
        BilledJob(
            adapter=line["provider"],
            id=line["job_id"],
            tag=line["tag"],
            usd=Decimal(line["usd"] if line["fate"] == "succeeded" and line["cancelled_at"] is None else 0),
            prompt=line["prompt"],
        )
        for line in lines
    ]


Owned = Mapping[str | None, Sequence[BilledJob]]
"""The providers' jobs by the attempt that each is of; under None those of no attempt."""


def _owned(videos: Mapping[str, Row], attempts: Sequence[Row], jobs: Sequence[BilledJob]) -> Owned:
    """Whose each job is: the tag says so, or the ticket that was recorded; else it was asked for by an
    attempt with its prompt, one that never had an answer before any other."""
    ids = {row["id"] for row in attempts}
    tickets = {(row["adapter"], row["upstream_id"]): row["id"] for row in attempts if row["upstream_id"]}
    prompts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in attempts:
        prompts[row["adapter"], _json(videos[row["video_id"]]["request"]).get("prompt", "")].append(row)
    owned: dict[str | None, list[BilledJob]] = defaultdict(list)
    unclaimed = []
    for job in jobs:
        owner = job.tag if job.tag in ids else tickets.get((job.adapter, job.id))
        if owner is None and job.tag is None:
            unclaimed.append(job)
        else:
            owned[owner].append(job)
    for job in unclaimed:
        asked = sorted(prompts[job.adapter, job.prompt], key=lambda row: row["id"] in owned)
        owned[asked[0]["id"] if asked else None].append(job)
    return owned


def _submits(attempts: Sequence[Row], owned: Owned, unlookable: frozenset[str]) -> Iterator[Violation]:
    """I2: at most one job at the provider per attempt, and none that no attempt knows."""
    for job in owned.get(None, ()):
        yield Violation(BILL, job.tag or job.id, f"{job.adapter} has a job of an attempt that does not exist")
    for row in attempts:
        jobs = owned.get(row["id"], ())
        if len(jobs) > 1:
            yield Violation(DOUBLE_SUBMIT, row["id"], f"the provider has {len(jobs)} jobs of it")
        for job in jobs:
            ticket = _json(row["ticket"])
            if row["state"] == "outcome_unknown" and row["adapter"] not in unlookable:
                yield Violation(BILL, row["id"], f"given up as unknown, and the provider has it as {job.id}")
            if ticket is not None and job.id not in ticket["id"]:
                yield Violation(
                    BILL, row["id"], f"recorded as {ticket['id']}, the provider calls it {job.id}"
                )


def _tenant_money(
    videos: Mapping[str, Row], ledger: Mapping[str, Sequence[Row]], files: Mapping[str, Sequence[Row]]
) -> Iterator[Violation]:
    """I3, I4, I5, I10: hold = charge + release, once each; a charge has a clip; the video's tenant pays."""
    for video_id, row in videos.items():
        entries = ledger.get(video_id, ())
        amounts = {kind: _amounts(entries, kind) for kind in ("hold", "charge", "release")}
        held, charged, released = (sum(amounts[kind]) for kind in ("hold", "charge", "release"))
        if len(amounts["charge"]) > 1 or charged > held:
            yield Violation(DOUBLE_CHARGE, video_id, f"held {held}, charged {amounts['charge']}")
        over = row["status"] in TERMINAL
        rules = {
            "one hold": len(amounts["hold"]) == 1 and held == row["hold_micro_usd"],
            "at most one release": len(amounts["release"]) <= 1,
            "hold = charge + release": not over or held == charged + released,
            "nothing before its end": over or not (amounts["charge"] or amounts["release"]),
            "the video says what the ledger says": not over or charged == row["charge_micro_usd"],
            "charged only if completed": charged == 0 or row["status"] == "completed",
            "charged only with a clip": charged == 0
            or any(file["variant"] == "video" for file in files[video_id]),
            "a price version on each charge": all(
                entry["price_version"] for entry in entries if entry["kind"] in ("charge", "actual")
            ),
            "its own tenant's money": all(entry["tenant_id"] == row["tenant_id"] for entry in entries),
        }
        for rule, kept in rules.items():
            if not kept:
                yield Violation(UNBALANCED, video_id, f"{rule}: {row['status']} {amounts}")


def _provider_money(
    attempts: Sequence[Row], ledger: Mapping[str, Sequence[Row]], owned: Owned
) -> Iterator[Violation]:
    """I6: what each attempt is said to have cost is what the provider bills, or its device time costs."""
    for row in attempts:
        entries = [entry for entry in ledger.get(row["video_id"], ()) if entry["attempt_id"] == row["id"]]
        estimates, actuals, voids = (_amounts(entries, kind) for kind in ("estimate", "actual", "void"))
        if row["settled_at"] is None or row["state"] == "outcome_unknown":
            continue  # told as stuck, or counted as exposure
        if len(estimates) != 1 or len(actuals) + len(voids) != 1:
            text = f"estimates {estimates}, actual {actuals}, void {voids}"
            yield Violation(UNBALANCED, row["id"], text)
            continue
        if row["kind"] == "remote":
            expected = sum(micro(job.usd) for job in owned.get(row["id"], ()))
        else:
            expected = _device_cost(row) if actuals else 0
        if sum(actuals) != expected:
            text = f"{row['state']}: recorded {sum(actuals)}, billed {expected} micro-USD"
            yield Violation(BILL, row["id"], text)


def _device_cost(row: Row) -> int:
    used = _json(row["usage"]) or {}
    if row["state"] != "succeeded":
        used = (_json(row["snapshot"]) or {}).get("usage") or used
    hourly = Decimal(_json(row["price"])["hourly_usd"])
    return micro(hourly * used["device_ms"] / 3_600_000)


def _histories(
    videos: Mapping[str, Row], events: Mapping[str, Sequence[Row]], told: Sequence[Told]
) -> Iterator[Violation]:
    """I8, I13: numbered without a gap, one ending and nothing after it, and replayed as recorded."""
    for video_id, row in videos.items():
        history = events.get(video_id, ())
        types = [event["type"] for event in history]
        numbers = [event["seq"] for event in history]
        progress = [
            _json(event["data"]).get("progress", 0) for event in history if event["type"] == "video.progress"
        ]
        progress = [percent for percent in progress if percent]
        endings = [ENDINGS[kind] for kind in types if kind in ENDINGS]
        rules = {
            "numbered from 1 without a gap": numbers == list(range(1, row["event_seq"] + 1)),
            "begins with its acceptance": types[:1] == ["video.queued"],
            "progress never goes back": progress == sorted(progress),
            "one ending": endings == ([row["status"]] if row["status"] in TERMINAL else []),
            "nothing after its ending": not endings or types[-1] in ENDINGS,
            "started at most once": types.count("video.in_progress") <= 1,
        }
        for rule, kept in rules.items():
            if not kept:
                yield Violation(HISTORY, video_id, f"{rule}: {row['status']}, {numbers} {types}")
    for job in told:
        recorded = tuple((event["seq"], event["type"]) for event in events.get(job.video_id, ()))
        if job.events is not None and job.events != recorded:
            yield Violation(HISTORY, job.video_id, f"replayed {job.events}, recorded {recorded}")


def _keys(videos: Mapping[str, Row], keys: Sequence[Row], told: Sequence[Told]) -> Iterator[Violation]:
    """I14: one idempotency key, one video; a create that is repeated makes no second one."""
    owners = {(row["tenant_id"], row["key"]): row for row in keys}
    for video_id, count in Counter(row["video_id"] for row in keys).items():
        if count > 1:
            yield Violation(KEY, video_id, f"{count} keys lead to it")
    for video_id in videos.keys() - {row["video_id"] for row in keys}:
        yield Violation(KEY, video_id, "made without a key, by a load whose creates all have one")
    for row in keys:
        if row["video_id"] in videos and videos[row["video_id"]]["tenant_id"] != row["tenant_id"]:
            yield Violation(KEY, row["video_id"], "its key is another tenant's")
    for job in told:
        owned = owners.get((job.tenant_id, job.key), {}).get("video_id")
        if owned != job.video_id:
            yield Violation(KEY, job.video_id, f"{job.key} leads to {owned}")
        if job.again is not None and job.again != job.video_id:
            yield Violation(KEY, job.video_id, f"the repeated create was answered with {job.again}")


def _artefacts(
    videos: Mapping[str, Row], files: Mapping[str, Sequence[Row]], evidence: Evidence
) -> Iterator[Violation]:
    """I7: a completed video has its files, each whole; no other has any; the clip is as long as planned."""
    decoded: dict[str, tuple[int, float]] = {}
    downloaded = {job.video_id: job.content for job in evidence.told if job.content is not None}
    for video_id, row in videos.items():
        if row["deleted_at"] is not None:
            continue
        mine = files.get(video_id, ())
        variants = [file["variant"] for file in mine]
        expected = VARIANTS if row["status"] == "completed" else set()
        if set(variants) != expected or len(variants) != len(expected):
            yield Violation(FILE, video_id, f"{row['status']} with {sorted(variants)}")
        for file in mine:
            if file["deleted_at"] is not None:
                continue
            problem = _problem(evidence.store / file["key"], file, row["clip_ms"], decoded)
            if problem is not None:
                yield Violation(FILE, video_id, f"{file['key']}: {problem}")
            if file["variant"] == "video" and downloaded.get(video_id, file["sha256"]) != file["sha256"]:
                yield Violation(FILE, video_id, "what was downloaded has another sha256 than is recorded")
    for video_id in files.keys() - videos.keys():
        yield Violation(FILE, video_id, "files of a video that does not exist")


def _problem(path: Path, file: Row, clip_ms: int, decoded: dict[str, tuple[int, float]]) -> str | None:
    """What is wrong with a file; ``decoded`` keeps what was found, since equal clips are decoded once."""
    if not path.is_file():
        return "a row without an object"
    data = path.read_bytes()
    if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
        return f"{len(data)} bytes that are not the {file['bytes']} recorded"
    if file["variant"] != "video":
        return None
    try:
        frames, fps = decoded[file["sha256"]] = decoded.get(file["sha256"]) or _decoded(path)
    except Exception as error:  # noqa: BLE001  # whatever the decoder says, it is no clip
        return f"does not decode: {error}"
    if frames != file["frames"] or abs(frames - clip_ms / 1000 * fps) > 1:
        return f"{frames} frames at {fps:g}/s; {file['frames']} recorded, {clip_ms} ms planned"
    return None


def _decoded(path: Path) -> tuple[int, float]:
    import av

    with av.open(str(path), "r", format="mp4") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return frames, float(stream.average_rate or 0)


def _orphans(evidence: Evidence, files: Mapping[str, Sequence[Row]]) -> int:
    named = {file["key"] for rows in files.values() for file in rows}
    stored = [path for folder in ("videos", "checkpoints") for path in evidence.store.glob(f"{folder}/*/*")]
    return sum(str(path.relative_to(evidence.store)) not in named for path in stored)


def _end(row: Row) -> str:
    code = row["error_code"] if row["status"] == "failed" else None
    return f"failed {code}" if code else str(row["status"])


def _amounts(entries: Sequence[Row], kind: str) -> list[int]:
    return [entry["amount_micro_usd"] for entry in entries if entry["kind"] == kind]


def _by_video(rows: Sequence[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row["video_id"]].append(row)
    return grouped


def _json(value: Any) -> Any:
    """JSON columns come as text from SQLite and decoded from Postgres."""
    return json.loads(value) if isinstance(value, str) else value


def micro(usd: Decimal) -> int:
    """In micro-USD."""
    return int((usd * MICRO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
