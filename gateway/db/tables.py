"""The tables. Times are UTC, money is micro-USD (BIGINT), durations are milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from typing_extensions import override

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Utc(sa.TypeDecorator[datetime]):
    """An aware UTC time; SQLite has no zones, so they are stripped and put back here."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    @override
    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(sa.TypeDecorator[str]):
    """Text of any length that others wrote; a NUL, which Postgres cannot hold, is shown as U+FFFD."""

    impl = sa.Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None else value.replace("\0", "\ufffd")


Id = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
"""An id of ours. They sort by time byte by byte; in many a language's order they do not."""

Micro = sa.BigInteger
"""Micro-USD."""

Ms = sa.BigInteger
"""Milliseconds."""

VIDEO_STATUSES = ("queued", "in_progress", "completed", "failed")
ATTEMPT_STATES = (
    "planned",
    "submitting",
    "submitted",
    "queued",
    "running",
    "fetching",
    "succeeded",
    "failed",
    "cancelled",
    "outcome_unknown",
)

ACCOUNT_STATES = ("closed", "open", "stopped")

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    sa.Column("tier", sa.String(80), nullable=False),
    sa.Column("monthly_budget_micro_usd", Micro),
    sa.Column("weight", sa.Integer, nullable=False, default=1, server_default="1"),
    sa.Column("max_active", sa.Integer),
    sa.Column("created_at", Utc, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("lookup", sa.String(16), nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("livemode", sa.Boolean, nullable=False, default=True, server_default="1"),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("revoked_at", Utc),
)

videos = sa.Table(
    "videos",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("key_id", sa.ForeignKey("api_keys.id"), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("progress", sa.Integer, nullable=False, default=0),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("mode", sa.String(20), nullable=False),
    sa.Column("tier", sa.String(80), nullable=False),
    sa.Column("model", sa.String(80), nullable=False),
    sa.Column("size", sa.String(20), nullable=False),
    sa.Column("clip_ms", Ms, nullable=False),
    sa.Column("estimate_micro_usd", Micro, nullable=False),
    sa.Column("hold_micro_usd", Micro, nullable=False),
    sa.Column("charge_micro_usd", Micro),
    sa.Column("event_seq", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("created_day", sa.Date, nullable=False),
    sa.Column("completed_at", Utc),
    sa.Column("deadline_at", Utc, nullable=False),
    sa.Column("stop_requested_at", Utc),
    sa.Column("stop_reason", sa.String(20)),
    sa.Column("deleted_at", Utc),
    sa.Column("expires_at", Utc),
    sa.Column("parked", sa.Boolean, nullable=False, default=False, server_default="0"),
    sa.Column("traceparent", sa.String(60)),
    sa.Column("remixed_from", Id),
    sa.Column("continued_from", Id),
    sa.Column("livemode", sa.Boolean, nullable=False, default=True, server_default="1"),
    sa.Column("lineage_id", Id, index=True),
    sa.Column("finalized_from", Id),
    sa.Column("continuity", sa.String(20)),
    sa.Column("error_code", sa.String(80)),
    sa.Column("error_message", Words),
    sa.Column("notes", sa.JSON, nullable=False, default=list),
    sa.CheckConstraint(sa.column("status").in_(VIDEO_STATUSES), name="status"),
    sa.CheckConstraint("hold_micro_usd >= 0", name="hold_not_negative"),
    sa.Index("ix_videos_tenant_id_id", "tenant_id", "id"),
    sa.Index("ix_videos_status_deadline_at", "status", "deadline_at"),
    sa.Index("ix_videos_created_day_tenant_id", "created_day", "tenant_id"),
    sa.Index("ix_videos_tenant_id_status", "tenant_id", "status"),
    sa.Index(
        "ix_videos_parked",
        "tenant_id",
        "id",
        sqlite_where=sa.text("parked = 1"),
        postgresql_where=sa.text("parked"),
    ),
    sa.Index("ix_videos_expires_at", "expires_at"),
    sa.Index(
        "uq_videos_finalized_from",  # a preview has one final, unless that failed
        "finalized_from",
        unique=True,
        sqlite_where=sa.text("status <> 'failed'"),
        postgresql_where=sa.text("status <> 'failed'"),
    ),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("video_id", sa.ForeignKey("videos.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("model", sa.String(80), nullable=False),
    sa.Column("offer", sa.String(200), nullable=False),
    sa.Column("adapter", sa.String(80), nullable=False),
    sa.Column("account", sa.String(80), nullable=False),
    sa.Column("preset", sa.String(80), nullable=False),
    sa.Column("pool", sa.String(80)),
    sa.Column("output", sa.JSON, nullable=False),
    sa.Column("size", sa.String(20), nullable=False),
    sa.Column("clip_ms", Ms, nullable=False),
    sa.Column("tuned", sa.Boolean, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("price", sa.JSON, nullable=False),
    sa.Column("price_version", sa.String(40), nullable=False),
    sa.Column("estimate_micro_usd", Micro, nullable=False),
    sa.Column("actual_micro_usd", Micro),
    sa.Column("ticket", sa.JSON(none_as_null=True)),
    sa.Column("upstream_id", Words),
    sa.Column("snapshot", sa.JSON(none_as_null=True)),
    sa.Column("source_key", sa.String(220)),
    sa.Column("usage", sa.JSON(none_as_null=True)),
    sa.Column("notes", sa.JSON, nullable=False, default=list),
    sa.Column("checkpoints", sa.JSON(none_as_null=True)),
    sa.Column("device", sa.String(40)),
    sa.Column("supervisor", sa.String(40)),
    sa.Column("stage", sa.String(40)),
    sa.Column("waiting", sa.Boolean, nullable=False, default=False, server_default="0"),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("next_poll_at", Utc),
    sa.Column("cancel_sent_at", Utc),
    sa.Column("error_code", sa.String(80)),
    sa.Column("error_message", Words),
    sa.Column("operator_detail", Words),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("started_at", Utc),
    sa.Column("submitted_at", Utc),
    sa.Column("running_at", Utc),
    sa.Column("last_poll_at", Utc),
    sa.Column("finished_at", Utc),
    sa.Column("settled_at", Utc),
    sa.Column("queued_ms", Ms),
    sa.Column("submit_ms", Ms),
    sa.Column("provider_queue_ms", Ms),
    sa.Column("render_ms", Ms),
    sa.Column("detection_lag_ms", Ms),
    sa.Column("transfer_ms", Ms),
    sa.Column("store_ms", Ms),
    sa.Column("total_ms", Ms),
    sa.UniqueConstraint("video_id", "number"),
    sa.CheckConstraint(sa.column("state").in_(ATTEMPT_STATES), name="state"),
    sa.Index("ix_attempts_state_next_poll_at", "state", "next_poll_at"),
    sa.Index("ix_attempts_pool_state", "pool", "state"),
    sa.Index("ix_attempts_state_finished_at", "state", "finished_at"),
    sa.Index("ix_attempts_adapter_state_account", "adapter", "state", "account"),
    sa.Index("ix_attempts_adapter_upstream_id", "adapter", "upstream_id"),
    sa.Index(
        "ix_attempts_waiting",
        "adapter",
        "account",
        "id",
        sqlite_where=sa.text("waiting = 1"),
        postgresql_where=sa.text("waiting"),
    ),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("video_id", sa.ForeignKey("videos.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("type", sa.String(40), nullable=False),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("video_id", sa.ForeignKey("videos.id"), nullable=False, index=True),
    sa.Column("attempt_id", sa.ForeignKey("attempts.id")),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("account", sa.String(10), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("amount_micro_usd", Micro, nullable=False),
    sa.Column("subject", sa.String(80), nullable=False, unique=True),
    sa.Column("price_version", sa.String(40)),
    sa.Column("detail", sa.JSON, nullable=False, default=dict),
    sa.Column("created_at", Utc, nullable=False),
    sa.CheckConstraint("amount_micro_usd >= 0", name="amount_not_negative"),
    sa.CheckConstraint(
        "(account = 'tenant' AND kind IN ('hold', 'charge', 'release'))"
        " OR (account = 'provider' AND kind IN ('estimate', 'actual', 'void'))",
        name="account_kind",
    ),
    sa.Index("ix_ledger_entries_tenant_id_created_at", "tenant_id", "created_at"),
)

artefacts = sa.Table(
    "artefacts",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("video_id", sa.ForeignKey("videos.id"), nullable=False),
    sa.Column("attempt_id", sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("variant", sa.String(20), nullable=False),
    sa.Column("key", sa.String(220), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("frames", sa.Integer),
    sa.Column("fps", sa.Float),
    sa.Column("duration_ms", Ms),
    sa.Column("created_at", Utc, nullable=False),
    sa.Column("deleted_at", Utc),
    sa.UniqueConstraint("video_id", "variant"),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("video_id", sa.ForeignKey("videos.id"), nullable=False),
    sa.Column("reply", sa.JSON, nullable=False),
    sa.Column("created_at", Utc, nullable=False),
)

pool_shares = sa.Table(
    "pool_shares",
    metadata,
    sa.Column("lane", sa.String(100), primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("finish", sa.BigInteger, nullable=False),
)

pool_clocks = sa.Table(
    "pool_clocks",
    metadata,
    sa.Column("lane", sa.String(100), primary_key=True),
    sa.Column("virtual_now", sa.BigInteger, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("executor_id", sa.String(40), primary_key=True),
    sa.Column("seen_at", Utc, nullable=False),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("slots", sa.JSON, nullable=False, default=dict),
)

provider_accounts = sa.Table(
    "provider_accounts",
    metadata,
    sa.Column("adapter", sa.String(80), primary_key=True),
    sa.Column("account", sa.String(80), primary_key=True),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("since", Utc),
    sa.Column("reason", sa.String(80)),
    sa.Column("detail", Words),
    sa.Column("opened_by", sa.String(20)),
    sa.Column("openings", sa.Integer, nullable=False),
    sa.Column("retry_at", Utc),
    sa.Column("probe_until", Utc),
    sa.CheckConstraint(sa.column("state").in_(ACCOUNT_STATES), name="state"),
)

retired_offers = sa.Table(
    "retired_offers",
    metadata,
    sa.Column("offer", sa.String(200), primary_key=True),
    sa.Column("since", Utc, nullable=False),
    sa.Column("said", Words, nullable=False),
)
