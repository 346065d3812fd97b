"""Tables of what may be called: models and their frozen prices, channels and what they serve."""

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
    Numeric,
    Table,
    Text,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.tables.base import METADATA

# A row is never changed: entries point at the price that was applied to them. The trigger in the migration holds that.
prices = Table(
    "prices",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("model", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_prices_model_id", "model", "id"),
)

# What a group's models cost, as a multiple of their prices; on top of the account's own ratio.
model_groups = Table(
    "model_groups",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("ratio", Numeric(12, 6), nullable=False),
    CheckConstraint("ratio >= 0", name="ratio"),
)

models = Table(
    "models",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False, server_default="chat"),
    Column("description", Text),
    Column("context_window", Integer),
    Column("max_output_tokens", Integer),
    # Seconds after which a media task of this model has failed; NULL: what its kind is given.
    Column("task_timeout", Integer),
    # Fallbacks, time-outs, what it can't do: `app/api/admin/models.py`.
    Column("options", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("price_id", BigInteger, ForeignKey("prices.id")),
    # The entry of the default catalogue that the price was taken from; NULL: the operator's own price.
    Column("price_ref", Text),
    Column("model_group", Text, ForeignKey("model_groups.name"), index=True),
    Column("free", Boolean, nullable=False, server_default=false()),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("context_window > 0", name="context_window"),
    CheckConstraint("max_output_tokens > 0", name="max_output_tokens"),
    CheckConstraint("task_timeout > 0", name="task_timeout"),
    CheckConstraint("NOT (free AND price_id IS NOT NULL)", name="free_or_priced"),
)

aliases = Table(
    "aliases",
    METADATA,
    Column("alias", Text, primary_key=True),
    Column("model", Text, ForeignKey("models.name", ondelete="CASCADE"), nullable=False, index=True),
)

channels = Table(
    "channels",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("weight", Integer, nullable=False, server_default="1"),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("options", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("weight > 0", name="weight"),
)

channel_models = Table(
    "channel_models",
    METADATA,
    Column("channel_id", BigInteger, ForeignKey("channels.id", ondelete="CASCADE"), primary_key=True),
    # No foreign key to models: a channel may list a model before its price is set; it isn't served until then.
    Column("model", Text, primary_key=True, index=True),
    Column("upstream_model", Text, nullable=False),
    # What clients pay when this channel answers, if not the model's own price.
    Column("price_id", BigInteger, ForeignKey("prices.id")),
    # What the operator pays the vendor, and the entry of the default catalogue that it was taken from.
    Column("cost_id", BigInteger, ForeignKey("prices.id")),
    Column("cost_ref", Text),
)

# One row: a newer default catalogue than the one that came with the release, fetched when an operator asked for it.
default_prices = Table(
    "default_prices",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("id = 1", name="one_row"),
)
