"""Tables of what accounts are told: where to, what is still to be delivered, and every attempt at it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from app.db.tables.base import METADATA

# Where an account is told that its quota runs low. Secrets are encrypted; the previous one signs too until it has run out.
webhooks = Table(
    "webhooks",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", DateTime(timezone=True)),
    # Nano-dollars.
    Column("thresholds", ARRAY(BigInteger), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# What signs the calls that an account asked for itself (`notify_hook`); made when it is first needed.
callback_secrets = Table(
    "callback_secrets",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# The outbox: a row is written in the transaction that has something to tell.
deliveries = Table(
    "deliveries",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # What receivers tell repeated deliveries of one event by.
    Column("event_id", UUID, nullable=False, server_default=text("gen_random_uuid()")),
    Column("topic", Text, nullable=False),
    # NULL: the account's webhook, as it is set when the delivery is tried.
    Column("url", Text),
    Column("body", Text, nullable=False),
    Column("test", Boolean, nullable=False, server_default=false()),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("next_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("give_up_at", DateTime(timezone=True), nullable=False, server_default=text("now() + interval '24 hours'")),
    # While a worker is at it; one that dies leaves it to the next when this has passed.
    Column("claimed_until", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    Index("ix_deliveries_id", "id"),
    Index(
        "ix_deliveries_claimed", "account_id", postgresql_where=text("state = 'pending' AND claimed_until IS NOT NULL")
    ),
    Index("ix_deliveries_due", "next_at", postgresql_where=text("state = 'pending'")),
)

delivery_attempts = Table(
    "delivery_attempts",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("delivery_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("latency_ms", Integer, nullable=False),
    # NULL: no answer came.
    Column("status", Integer),
    Column("answer", Text),
    Column("error", Text),
)
