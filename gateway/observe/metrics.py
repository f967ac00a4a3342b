"""Metrics for Prometheus: what the database says of jobs and money, and what this process served.

Nearly all of it is read from SQL when asked, so every API process tells the same whoever did the work; take
``max``, not ``sum``, over instances. No label names a tenant, and none has unbounded values.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from typing_extensions import override

from gateway.db import Database, now
from gateway.db.accounts import read_accounts
from gateway.db.leases import EXPIRED_AFTER
from gateway.db.tables import ACCOUNT_STATES, attempts, leases, videos
from gateway.observe.totals import History, Totals

QUEUE_DEPTH_SQL = (
    "SELECT count(*) FROM attempts JOIN videos ON videos.id = attempts.video_id"
    " WHERE attempts.pool = '{pool}' AND attempts.state IN ('planned', 'running') AND NOT videos.parked"
)
"""What an autoscaler asks of a device pool: how many jobs wait for it or run on it. One integer, by an index;
what is parked for its tenant's limit would not start on more devices, and is left out."""

LIVE_STATES = (
    "planned",
    "submitting",
    "submitted",
    "queued",
    "running",
    "fetching",
    "outcome_unknown",
)
"""The states in which an attempt's books may still be open."""

MICRO = 1_000_000

RESPONSE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one API process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types it in part
        self._lock = threading.Lock()
        self._history = History()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "reelgate_http_requests",
            "Requests answered by this process.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._responses = Histogram(
            "reelgate_http_response_seconds",
            "From a request's arrival to the start of its answer.",
            ("method", "route"),
            buckets=RESPONSE_BUCKETS_S,
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is its template, and ``seconds`` ran until the answer began."""
        self._requests.labels(method, route, status).inc()
        self._responses.labels(method, route).observe(seconds)

    def scrape(self, db: Database, pools: Collection[str], accept: str) -> tuple[bytes, str]:
        """Everything, in the format that ``accept`` asks for; with its media type. Reads SQL."""
        with self._lock:
            families = [*self._registry.collect(), *_from_sql(db, pools, self._history)]
        encode, media_type = choose_encoder(accept)
        return encode(_Collected(families)), media_type


class _Collected(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    @override
    def collect(self) -> list[Metric]:
        return self._families


def _from_sql(db: Database, pools: Collection[str], history: History) -> Iterator[Metric]:
    """What SQL says; if the database does not answer, that."""
    families: list[Metric] = []
    try:
        with db.read() as connection:
            families += _live(connection, pools)
            families.append(_accounts(connection))
            if not db.is_sqlite:
                families += _processes(connection)
        totals = history.read(db)
        if totals is not None:
            families += _sums(totals)
    except sa.exc.SQLAlchemyError:
        log.exception("the metrics could not be read from the database")
        families.clear()
    yield GaugeMetricFamily("reelgate_database_up", "1 if the database answered.", value=len(families) > 0)
    yield from families


@dataclass
class _Pool:
    waiting: int = 0
    running: int = 0
    since: datetime | None = None
    """when the longest waiting was planned"""


@dataclass
class _Live:
    """The attempts whose books are open; ``doubtful`` also counts those that were given up in doubt."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LIVE_STATES, 0))
    pools: dict[str, _Pool] = field(default_factory=dict)
    doubtful: int = 0
    parked: int = 0

    def add(self, row: sa.Row[Any]) -> None:
        if row.state == "outcome_unknown":
            self.doubtful += row.n
        if row.closed:
            return
        self.states[row.state] += row.n
        if row.parked:
            self.parked += row.n
        elif row.pool is not None:
            pool = self.pools.setdefault(row.pool, _Pool())
            if row.state == "planned":
                pool.waiting, pool.since = row.n, row.since
            elif row.state == "running":
                pool.running = row.n


def _live(connection: sa.Connection, pools: Collection[str]) -> Iterator[Metric]:
    closed = attempts.c.settled_at.is_not(None).label("closed")
    keys = (attempts.c.pool, attempts.c.state, videos.c.parked, closed)
    query = (
        sa.select(*keys, sa.func.count().label("n"), sa.func.min(attempts.c.created_at).label("since"))
        .join_from(attempts, videos, videos.c.id == attempts.c.video_id)
        .where(attempts.c.state.in_(LIVE_STATES))
        .group_by(*keys)
    )
    live = _Live(pools={pool: _Pool() for pool in pools})
    for row in connection.execute(query):
        live.add(row)
    waiting = GaugeMetricFamily("reelgate_queue_depth", "Jobs waiting for a device.", labels=["pool"])
    running = GaugeMetricFamily("reelgate_running", "Jobs on a device.", labels=["pool"])
    oldest = GaugeMetricFamily(
        "reelgate_oldest_waiting_seconds", "How long the longest waiting job has waited.", labels=["pool"]
    )
    for name, pool in sorted(live.pools.items()):
        waiting.add_metric([name], pool.waiting)
        running.add_metric([name], pool.running)
        oldest.add_metric([name], _waited(pool))
    yield from (waiting, running, oldest)
    states = GaugeMetricFamily("reelgate_attempts", "Attempts that are not over, by state.", labels=["state"])
    for state, n in live.states.items():
        states.add_metric([state], n)
    yield states
    yield GaugeMetricFamily(
        "reelgate_parked", "Attempts that wait for their tenant's limit, on no pool.", value=live.parked
    )
    yield GaugeMetricFamily(
        "reelgate_outcome_unknown",
        "Attempts that a provider may or may not have taken, those given up included.",
        value=live.doubtful,
    )


def _waited(pool: _Pool) -> float:
    return 0.0 if pool.since is None else max(0.0, (now() - pool.since).total_seconds())


def _accounts(connection: sa.Connection) -> Metric:
    family = GaugeMetricFamily(
        "reelgate_account_state",
        "1 for the state of a provider account's circuit breaker, from its first trouble on.",
        labels=["adapter", "account", "state"],
    )
    for (adapter, account), found in read_accounts(connection).items():
        for state in ACCOUNT_STATES:
            family.add_metric([adapter, account, state], state == found.state)
    return family


def _processes(connection: sa.Connection) -> Iterator[Metric]:
    fresh = leases.c.seen_at > sa.func.clock_timestamp(type_=sa.DateTime(timezone=True)) - EXPIRED_AFTER
    query = sa.select(leases.c.role, sa.func.count().label("n")).where(fresh).group_by(leases.c.role)
    family = GaugeMetricFamily("reelgate_processes", "Processes with a fresh lease.", labels=["role"])
    for row in connection.execute(query):
        family.add_metric([row.role], row.n)
    yield family


def _sums(totals: Totals) -> Iterator[Metric]:
    videos = CounterMetricFamily("reelgate_videos", "Videos that ended.", labels=["status", "model"])
    for (status, model), n in sorted(totals.videos.items()):
        videos.add_metric([status, model], n)
    settled = CounterMetricFamily(
        "reelgate_settled_attempts", "Attempts whose books are closed.", labels=["adapter", "state"]
    )
    for (adapter, state), n in sorted(totals.attempts.items()):
        settled.add_metric([adapter, state], n)
    charged = CounterMetricFamily("reelgate_charged_usd", "Charged to tenants.", labels=["model"])
    for model, micro_usd in sorted(totals.charged.items()):
        charged.add_metric([model], micro_usd / MICRO)
    cost = CounterMetricFamily(
        "reelgate_provider_cost_usd", "Billed by providers; of local models, device time.", labels=["adapter"]
    )
    for adapter, micro_usd in sorted(totals.cost.items()):
        cost.add_metric([adapter], micro_usd / MICRO)
    yield from (videos, settled, charged, cost, _latency(totals))


def _latency(totals: Totals) -> Metric:
    family = HistogramMetricFamily(
        "reelgate_latency_seconds", "Parts of the time of delivered attempts.", labels=["adapter", "part"]
    )
    buckets: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for (adapter, part, bound), n in sorted(totals.latency.items()):
        le = "+Inf" if bound == math.inf else str(bound)
        buckets.setdefault((adapter, part), []).append((le, n))
    for series, counted in buckets.items():
        family.add_metric(series, counted, totals.latency_ms[series] / 1000)
    return family
