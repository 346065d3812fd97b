"""Tables of money: counters, grants, holds, entries, and the leases of the processes that hold.

For every account: granted = balance + held + charged, checked by the database on each write. Every table that grows
carries `account_id` first in its key, and a transaction locks an account's counters before its keys'.
"""

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
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from app.db.tables.base import METADATA

# Counter rows change on every batch: room in the page keeps the updates HOT, and there is no index but the key.
account_balances = Table(
    "account_balances",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("granted", BigInteger, nullable=False, server_default="0"),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("charged", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("granted = balance + held + charged", name="conserved"),
    CheckConstraint("balance >= 0 AND held >= 0 AND charged >= 0", name="not_negative"),
    postgresql_with={"fillfactor": "20"},
)

# granted NULL: the key is bounded by its account alone. A quota lowered under what was charged leaves a negative balance.
key_balances = Table(
    "key_balances",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, ForeignKey("keys.id"), primary_key=True, autoincrement=False),
    Column("granted", BigInteger),
    Column("balance", BigInteger),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("charged", BigInteger, nullable=False, server_default="0"),
    CheckConstraint(
        "CASE WHEN granted IS NULL THEN balance IS NULL ELSE granted = balance + held + charged END",
        name="conserved",
    ),
    CheckConstraint("held >= 0 AND charged >= 0", name="not_negative"),
    postgresql_with={"fillfactor": "20"},
)

grants = Table(
    "grants",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("note", Text),
    Column("idempotency_key", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("account_id", "idempotency_key"),
)

# A gateway process that is alive keeps its lease in the future; the holds of one that isn't are resolved by the sweeper.
instances = Table(
    "instances",
    METADATA,
    Column("id", UUID, primary_key=True),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    postgresql_with={"fillfactor": "50"},
)

holds = Table(
    "holds",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("id", UUID, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    Column("request_id", UUID, nullable=False),
    Column("owner", UUID, nullable=False),
    Column("amount", BigInteger, nullable=False),
    # What is charged if the process dies before it settles: the input, which the upstream has most likely billed.
    Column("orphan_charge", BigInteger, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("price_id", BigInteger),
    Column("ratio_ppm", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("amount >= orphan_charge AND orphan_charge >= 0", name="amount"),
    postgresql_with={"fillfactor": "80"},
)

entries = Table(
    "entries",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # The hold's id: the primary key is what makes a second entry for one hold impossible.
    Column("id", UUID, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    Column("request_id", UUID, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("model", Text, nullable=False),
    Column("channel_id", BigInteger),
    Column("format", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False),
    # What the usage cost beyond what the account could still pay; never taken from it.
    Column("uncollected", BigInteger, nullable=False, server_default="0"),
    Column("usage", JSONB, nullable=False),
    Column("price_id", BigInteger),
    Column("ratio_ppm", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("latency_ms", Integer),
    Column("first_byte_ms", Integer),
    Column("attempts", SmallInteger, nullable=False),
    Column("error", Text),
    CheckConstraint("status IN ('settled', 'released', 'orphaned')", name="status"),
    CheckConstraint("charged >= 0 AND uncollected >= 0", name="amounts"),
    Index("ix_entries_created_at", "created_at", postgresql_using="brin"),
    Index("ix_entries_account_id_key_id_id", "account_id", "key_id", "id"),
)
