"""What the metrics say is what the rows say, on both databases, and a counter never goes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.db import Database, new_id, now
from gateway.db.accounts import locked, save
from gateway.db.ids import first_id
from gateway.db.tables import ATTEMPT_STATES, attempts, leases, videos
from gateway.jobs.records import LATENCY_PARTS
from gateway.ledger.entries import Parties
from gateway.observe import totals as totals_module
from gateway.observe.metrics import LIVE_STATES, QUEUE_DEPTH_SQL, Metrics
from gateway.observe.totals import PARTS, History

from .conftest import Books

ROOT = Path(__file__).parents[3]

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(metrics: Metrics, db: Database) -> Samples:
    text, media_type = metrics.scrape(db, ["cpu", "gpu"], "")
    assert media_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"reelgate_{name}", tuple(sorted(labels.items()))))


def job(
    books: Books, state: str, *, pool: str | None = "cpu", parked: bool = False, waited: float = 0
) -> Parties:
    parties = books.video()
    planned = now() - timedelta(seconds=waited)
    books.update(attempts, parties.attempt_id, state=state, pool=pool, created_at=planned)
    books.update(videos, parties.video_id, parked=parked)
    return parties


def queue_depth(db: Database, pool: str) -> int:
    with db.read() as connection:
        return int(connection.exec_driver_sql(QUEUE_DEPTH_SQL.format(pool=pool)).scalar_one())


def test_pools_and_states_are_counted(books: Books) -> None:
    for waited in (30, 90, 60):
        job(books, "planned", waited=waited)
    for state in ("running", "fetching", "succeeded", "failed"):
        job(books, state)
    job(books, "planned", parked=True, waited=1000)
    job(books, "planned", pool=None, waited=1000)
    job(books, "submitted", pool=None)
    samples = scrape(Metrics(), books.db)
    assert value(samples, "database_up") == 1
    assert value(samples, "queue_depth", pool="cpu") == 3
    assert value(samples, "running", pool="cpu") == 1
    assert value(samples, "oldest_waiting_seconds", pool="cpu") == pytest.approx(90, abs=30)
    assert value(samples, "parked") == 1
    counted = {state: value(samples, "attempts", state=state) for state in ATTEMPT_STATES}
    assert {state: n for state, n in counted.items() if n} == {
        "planned": 5,
        "submitted": 1,
        "running": 1,
        "fetching": 1,
    }
    assert {state for state, n in counted.items() if n is not None} == {*LIVE_STATES}


def test_a_pool_without_jobs_is_there_with_zeros(books: Books) -> None:
    samples = scrape(Metrics(), books.db)
    for name in ("queue_depth", "running", "oldest_waiting_seconds"):
        assert value(samples, name, pool="gpu") == 0
    assert value(samples, "outcome_unknown") == 0


def test_a_doubt_stays_counted_when_it_is_given_up(books: Books) -> None:
    job(books, "outcome_unknown", pool=None)
    given_up = job(books, "outcome_unknown", pool=None)
    books.update(attempts, given_up.attempt_id, settled_at=now())
    samples = scrape(Metrics(), books.db)
    assert value(samples, "attempts", state="outcome_unknown") == 1
    assert value(samples, "outcome_unknown") == 2


def test_the_state_of_each_provider_account_is_told(books: Books) -> None:
    with books.db.write() as connection:
        save(connection, replace(locked(connection, "comet", "main"), state="stopped"))
        locked(connection, "comet", "other")
    samples = scrape(Metrics(), books.db)
    states = {
        (account, state): value(samples, "account_state", adapter="comet", account=account, state=state)
        for account in ("main", "other")
        for state in ("closed", "open", "stopped")
    }
    assert {key for key, shown in states.items() if shown} == {("main", "stopped"), ("other", "closed")}
    assert set(states.values()) == {0, 1}


def test_the_autoscalers_query_counts_what_waits_and_runs(books: Books) -> None:
    assert queue_depth(books.db, "cpu") == 0
    for state in ATTEMPT_STATES:
        job(books, state)
    job(books, "planned")
    job(books, "planned", pool="gpu")
    job(books, "planned", parked=True)
    assert queue_depth(books.db, "cpu") == 3  # two planned and one running
    assert queue_depth(books.db, "gpu") == 1
    samples = scrape(Metrics(), books.db)
    shown = value(samples, "queue_depth", pool="cpu"), value(samples, "running", pool="cpu")
    assert shown == (2, 1)


def test_the_autoscalers_query_is_the_one_on_the_page_and_in_the_manifest() -> None:
    page = (ROOT / "docs" / "howto" / "observe.md").read_text()
    assert QUEUE_DEPTH_SQL.format(pool="gpu") in page
    manifests = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "autoscaler.yaml").read_text())
    queries = [
        trigger["metadata"]["query"]
        for manifest in manifests
        for trigger in manifest.get("spec", {}).get("triggers", [])
        if trigger["type"] == "postgresql"
    ]
    assert queries == [QUEUE_DEPTH_SQL.format(pool="gpu")]


def test_videos_money_and_latency_are_added_up(books: Books) -> None:
    fast = {"queued_ms": 40, "render_ms": 100, "total_ms": 2_600}
    slow = {"queued_ms": 400, "render_ms": 101, "total_ms": 4_000_000}
    books.complete(books.video(held=3_000_000), 2_500_000, **fast)
    books.complete(books.video(held=3_000_000), 4_000_000, **slow)
    books.fail(books.video())
    books.video()
    samples = scrape(Metrics(), books.db)
    assert value(samples, "videos_total", status="completed", model="echo") == 2
    assert value(samples, "videos_total", status="failed", model="echo") == 1
    assert value(samples, "settled_attempts_total", adapter="echo", state="succeeded") == 2
    assert value(samples, "settled_attempts_total", adapter="echo", state="failed") == 1
    assert value(samples, "charged_usd_total", model="echo") == 5.5  # no more than what was held
    assert value(samples, "provider_cost_usd_total", adapter="echo") == 6.5

    def bucket(part: str, le: str) -> float | None:
        return value(samples, "latency_seconds_bucket", adapter="echo", part=part, le=le)

    assert [bucket("render", le) for le in ("0.1", "0.5", "+Inf")] == [1, 2, 2]
    assert [bucket("total", le) for le in ("2.5", "5.0", "3600.0", "+Inf")] == [0, 1, 1, 2]
    assert value(samples, "latency_seconds_sum", adapter="echo", part="queued") == pytest.approx(0.44)
    assert value(samples, "latency_seconds_count", adapter="echo", part="queued") == 2
    assert bucket("provider_queue", "+Inf") is None  # a part that never occurred


def test_every_part_of_the_latency_is_told() -> None:
    assert tuple(f"{part}_ms" for part in PARTS) == LATENCY_PARTS


def test_history_is_counted_once_in_slices_and_newer_entries_are_added(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for price in range(7):
        books.complete(books.video(), price, total_ms=1000)
    plain = History().read(books.db)
    assert plain is not None
    assert plain.videos["completed", "echo"] == 7
    monkeypatch.setattr(totals_module, "SLICE", 3)
    monkeypatch.setattr(totals_module, "SETTLED", timedelta(seconds=-1))  # all of it is history
    history = History()
    assert history.read(books.db) == plain
    with monkeypatch.context() as patch:
        patch.setattr(totals_module, "_slice_end", None)  # and is not counted again
        patch.setattr(totals_module, "SETTLED", timedelta(minutes=5))
        assert history.read(books.db) == plain
    monkeypatch.setattr(totals_module, "SETTLED", timedelta(minutes=5))
    monkeypatch.setattr(history, "_until", first_id("led", now()))
    books.fail(books.video())
    later = history.read(books.db)
    assert later is not None
    assert later.videos["completed", "echo"] == 7
    assert later.videos["failed", "echo"] == 1


def test_a_long_history_is_counted_over_several_scrapes(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        books.complete(books.video(), 1)
    monkeypatch.setattr(totals_module, "SLICE", 5)
    monkeypatch.setattr(totals_module, "SETTLED", timedelta(seconds=-1))
    clock = iter(range(0, 10_000, 2))  # each look at it is two seconds later: a slice, and the budget is gone
    monkeypatch.setattr(totals_module.time, "monotonic", lambda: float(next(clock)))
    metrics = Metrics()
    seen = [
        value(scrape(metrics, books.db), "videos_total", status="completed", model="echo") for _ in range(8)
    ]
    assert seen[0] is None  # absent rather than wrong
    assert seen[-1] == 4
    assert {*seen} == {None, 4}


def test_no_tenant_is_named(books: Books) -> None:
    books.complete(books.video(), 1, total_ms=1)
    job(books, "planned")
    text, _ = Metrics().scrape(books.db, ["cpu"], "")
    assert b"tenant" not in text.replace(b"Charged to tenants.", b"").replace(
        b"for their tenant's limit", b""
    )
    assert b"acme" not in text
    assert books.tenants["acme"].encode() not in text


def test_living_processes_are_told_on_postgres(books: Books) -> None:
    living = {"all": 0, "worker": 1, "slot": 3}
    with books.db.write() as connection:
        for number, (role, age) in enumerate(living.items()):
            connection.execute(
                leases.insert().values(
                    executor_id=f"ex-{number}",
                    seen_at=now() - timedelta(seconds=age),
                    started_at=now(),
                    role=role,
                    host="h",
                    pid=1,
                )
            )
        long_ago = now() - timedelta(seconds=60)
        gone = {"executor_id": "ex-dead", "seen_at": long_ago, "started_at": long_ago, "role": "slot"}
        connection.execute(leases.insert().values(**gone, host="h", pid=1))
    samples = scrape(Metrics(), books.db)
    told = [value(samples, "processes", role=role) for role in living]
    assert told == ([None] * 3 if books.db.is_sqlite else [1] * 3)


def test_a_database_that_does_not_answer_is_told_and_the_rest_is_served(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'no-tables.db'}")
    metrics = Metrics()
    metrics.answered("GET", "/v1/videos", 200, 0.002)
    samples = scrape(metrics, db)
    db.close()
    assert value(samples, "database_up") == 0
    assert value(samples, "queue_depth", pool="cpu") is None
    assert value(samples, "http_requests_total", method="GET", route="/v1/videos", status="200") == 1
    assert value(samples, "http_response_seconds_bucket", method="GET", route="/v1/videos", le="0.001") == 0
    assert value(samples, "http_response_seconds_bucket", method="GET", route="/v1/videos", le="0.0025") == 1


def test_a_scrapers_format_is_honoured(books: Books) -> None:
    text, media_type = Metrics().scrape(books.db, [], "application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_the_autoscalers_query_finds_its_rows_by_an_index(books: Books) -> None:
    explain = "EXPLAIN QUERY PLAN " if books.db.is_sqlite else "EXPLAIN "
    with books.db.read() as connection:
        if not books.db.is_sqlite:  # which reads all of a table as small as this one
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(explain + QUEUE_DEPTH_SQL.format(pool="cpu")).all()
    assert "ix_attempts_pool_state" in str(plan)


def test_the_first_id_of_a_moment_lies_between_older_ids_and_newer_ones() -> None:
    made = new_id("led")
    assert (
        first_id("led", now() - timedelta(seconds=1)) < made < first_id("led", now() + timedelta(seconds=1))
    )
