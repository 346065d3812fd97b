"""Tables of what administrators did."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import METADATA

# Written in the transaction of the change itself. No foreign keys: the log outlives what it tells of.
admin_actions = Table(
    "admin_actions",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # NULL: the configured token, or the command line; `actor` says which.
    Column("token_id", BigInteger),
    Column("actor", Text, nullable=False),
    Column("address", Text),
    # Such as channels.update; what stands before the dot is the kind of its target.
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("target_id", Text),
    # What changed, as the admin API shows it, without secrets. NULL before: it was made; NULL after: it is gone.
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Column("request_id", Text),
    Index("ix_admin_actions_at", "at"),
    Index("ix_admin_actions_target", "target", "target_id", "id"),
)
