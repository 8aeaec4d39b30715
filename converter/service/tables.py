"""The service's rows, beside those of the jobs in the same database."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

METADATA = MetaData()
_TIME: Double[float] = Double()  # seconds since 1970

SETTINGS = Table(
    "service_settings",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", String(255), nullable=False),
)

KEYS = Table(
    "service_keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the secret, which has 256 random bits
    Column("scopes", JSON, nullable=False),
    Column("quota", JSON, nullable=False),
    Column("created", _TIME, nullable=False),
    Column("expires", _TIME),
    Column("revoked", _TIME),
)

UPLOADS = Table(
    "service_uploads",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("name", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(80)),  # as declared; checked when all of it is there
    Column("complete", Integer, nullable=False, default=0),
    Column("created", _TIME, nullable=False),
)

HUB_MODELS = Table(
    "hub_models",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("slug", String(255), nullable=False),
    Column("created", _TIME, nullable=False),
    Column("updated", _TIME, nullable=False),
    Column("body", JSON, nullable=False),
    UniqueConstraint("tenant", "slug", name="hub_models_slug"),
)

HUB_VARIANTS = Table(
    "hub_variants",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("model_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("slug", String(300), nullable=False),
    Column("variant_slug", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("created", _TIME, nullable=False),
    Column("updated", _TIME, nullable=False),
    Column("body", JSON, nullable=False),
    Index("hub_variants_of_model", "tenant", "model_id"),
)

HUB_INSTANCES = Table(
    "hub_instances",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("model_id", String(64), nullable=False),
    Column("variant_id", String(64), nullable=False),
    Column("parent_id", String(64)),
    Column("name", String(255), nullable=False),
    Column("slug", String(300), nullable=False),
    Column("model_type", String(32), nullable=False),
    # Of an uploaded instance: the file. Of an exported one: the job, whose rows name the file.
    Column("file", String(80)),
    Column("file_name", String(255)),
    Column("file_size", BigInteger),
    Column("config", JSON(none_as_null=True)),  # of an uploaded archive
    Column("job_id", String(64)),
    Column("created", _TIME, nullable=False),
    Column("updated", _TIME, nullable=False),
    Column("body", JSON, nullable=False),
    Index("hub_instances_of_variant", "tenant", "variant_id"),
    Index("hub_instances_of_job", "job_id"),
)
