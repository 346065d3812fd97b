"""Tables of money: counters, limits, grants, codes, holds, entries, and the leases of the processes that hold.

For every account: granted = balance + held + charged, checked by the database on each write. Every table that grows
carries `account_id` first in its key, and a transaction locks an account's counters before its keys'.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

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
    # The highest threshold that what remains (balance + held) isn't below yet; NULL: none to watch for.
    Column("alert_below", BigInteger),
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
    Column("group_ppm", BigInteger, nullable=False),
    # Tokens counted against a limit until it is known how many they were; NULL: made when no limit applied.
    Column("tokens", Integer),
    # By which limits in shadow: those would have refused it. 1 the account's, 2 the key's.
    Column("uncounted", SmallInteger),
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
    # The account's ratio and the model group's, as they were: the charge is price times both.
    Column("ratio_ppm", BigInteger, nullable=False),
    Column("group_ppm", BigInteger, nullable=False),
    # What the vendor takes for it, as far as the operator has said; NULL: unknown.
    Column("cost", BigInteger),
    Column("estimated", Boolean, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("latency_ms", Integer),
    Column("first_byte_ms", Integer),
    Column("attempts", SmallInteger, nullable=False),
    Column("error", Text),
    CheckConstraint("status IN ('settled', 'released', 'orphaned')", name="status"),
    CheckConstraint("charged >= 0 AND uncollected >= 0", name="amounts"),
    # Of a few pages each, for lists over all accounts and for what is asked before a month is dropped.
    Index("ix_entries_id", "id", postgresql_using="brin"),
    Index("ix_entries_created_at", "created_at", postgresql_using="brin"),
    Index("ix_entries_account_id_key_id_id", "account_id", "key_id", "id"),
    # Ids are in the order of time, so that a month of entries is a range of ids, and the key stays unique over all months.
    postgresql_partition_by="RANGE (id)",
)

# What the entries of months that were dropped came to, so that the counters can still be recomputed.
entry_totals = Table(
    "entry_totals",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("entries", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False),
    Column("uncollected", BigInteger, nullable=False),
)

# What an account (key_id 0) or one of its keys may do in a stretch of time, and what it has done: one row holds both, so
# that they are read and written under the account's lock. `requests` and `tokens` are 61 buckets of one second.
limits = Table(
    "limits",
    METADATA,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("key_id", BigInteger, primary_key=True, autoincrement=False),
    Column("rpm", Integer),
    Column("tpm", BigInteger),
    Column("rpd", Integer),
    Column("concurrency", Integer),
    Column("budget", BigInteger),
    Column("budget_period", Text),
    # The whole row is only tried out: counted, and what it would refuse is logged.
    Column("shadow", Boolean, nullable=False, server_default=text("false")),
    # Requests from before weren't counted, so nothing of theirs is given back.
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("second", BigInteger, nullable=False, server_default="0"),
    Column("requests", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("tokens", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("day", Date),
    Column("day_requests", Integer, nullable=False, server_default="0"),
    Column("period_start", DateTime(timezone=True)),
    # What had been charged in all when the period began: what was spent in it is the rest.
    Column("period_charged", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("rpm > 0 AND tpm > 0 AND rpd > 0 AND concurrency > 0 AND budget >= 0", name="positive"),
    CheckConstraint("budget_period IN ('day', 'week', 'month')", name="budget_period"),
    CheckConstraint("(budget IS NULL) = (budget_period IS NULL)", name="budget_has_period"),
    postgresql_with={"fillfactor": "20"},
)

# Codes that holders turn into money. Only digests are kept; a code is redeemed at most once.
code_batches = Table(
    "code_batches",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("amount > 0 AND count > 0", name="positive"),
)

codes = Table(
    "codes",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("batch_id", BigInteger, ForeignKey("code_batches.id"), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("account_id", BigInteger),
    Column("key_id", BigInteger),
    Column("grant_id", BigInteger),
    Column("redeemed_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    CheckConstraint("(redeemed_at IS NULL) = (account_id IS NULL)", name="redeemed_by"),
    Index("ix_codes_batch_id_id", "batch_id", "id"),
    Index("ix_codes_redeemed", "batch_id", postgresql_where=text("redeemed_at IS NOT NULL")),
)
