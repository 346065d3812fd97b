"""Tables of who may call: accounts, their keys, and admin tokens. No money lives here (see `ledger`)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Table,
    Text,
    func,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, CIDR

from app.db.tables.base import METADATA

accounts = Table(
    "accounts",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("role", Text, nullable=False, server_default="user"),
    Column("price_ratio", Numeric(12, 6), nullable=False, server_default="1"),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deleted_at", DateTime(timezone=True)),
    CheckConstraint("role IN ('user', 'admin')", name="role"),
    CheckConstraint("price_ratio >= 0", name="price_ratio"),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    # SHA-256 of the key: the key holds 256 random bits, so a slow hash would only slow the hot path.
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("expires_at", DateTime(timezone=True)),
    Column("models", ARRAY(Text)),
    Column("ips", ARRAY(CIDR)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deleted_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    Index("ix_keys_account_id_id", "account_id", "id"),
)

admin_tokens = Table(
    "admin_tokens",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False, server_default="{admin}"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    # At most a minute behind.
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
)
