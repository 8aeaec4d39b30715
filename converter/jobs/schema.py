"""The tables, for SQLite and PostgreSQL. `migrations/` makes them; a test holds both side by side."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

METADATA: Final = MetaData()
# SQLite counts up in INTEGER columns only.
_COUNT: Final = BigInteger().with_variant(Integer(), "sqlite")

JOBS: Final = Table(
    "jobs",
    METADATA,
    Column("number", _COUNT, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("asked", Text, nullable=False),  # hash of what was submitted
    Column("kind", Text, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("labels", Text, nullable=False),  # sorted, separated by spaces
    Column("priority", Integer, nullable=False),
    Column("rank", Double),  # the order in the queue, lowest first
    Column("attempt", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("events", Integer, nullable=False),
    Column("cancelling", Boolean, nullable=False),
    Column("source_bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("expires_at", Double),
    sqlite_autoincrement=True,  # a number is never given twice, even if its job was deleted
)
_QUEUED: Final = text("state = 'queued'")
_RUNNING: Final = text("state = 'running'")
Index(
    "jobs_queued",
    JOBS.c.labels,
    JOBS.c.rank,
    JOBS.c.number,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
Index("jobs_running", JOBS.c.number, sqlite_where=_RUNNING, postgresql_where=_RUNNING)
Index("jobs_tenant", JOBS.c.tenant, JOBS.c.number)
Index("jobs_state", JOBS.c.state, JOBS.c.number)
Index("jobs_batch", JOBS.c.batch, JOBS.c.number)
Index("jobs_kind", JOBS.c.kind)

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("state", Text),  # null: lost
    Column("reason", Text, nullable=False),
    Column("counts", Boolean, nullable=False),
    Column("peak_bytes", BigInteger, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", JSON, nullable=False),
)
Index("events_once", EVENTS.c.job_id, EVENTS.c.attempt, EVENTS.c.number, unique=True)

ARTEFACTS: Final = Table(
    "artefacts",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
Index("artefacts_digest", ARTEFACTS.c.digest)
