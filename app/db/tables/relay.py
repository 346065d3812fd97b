"""Tables of the relay: which channel keeps which answer or object, so that later calls about it find the way."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, Table, Text, false, func, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

from app.db.tables.base import METADATA

kept_answers = Table(
    "kept_answers",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # The upstream's id of an answer (`resp_…`, `msg_…`), as clients name it.
    Column("id", Text, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    # No foreign key: a channel may go, and then nobody has the answer any more.
    Column("channel_id", BigInteger, nullable=False),
    # The catalogue's name: who asks about an answer must still be allowed its model.
    # Which of the channel's keys: another key may be another organisation's.
    Column("channel_key", Integer, nullable=False, server_default=text("0")),
    Column("model", Text, nullable=False),
    # What building on it feeds a model, once that is known: input and output of the request that made it.
    Column("tokens", BigInteger),
    # It works in the background, and what it used isn't known yet: until then it can't be deleted.
    Column("unfinished", Boolean, nullable=False, server_default=false()),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_kept_answers_created_at", "created_at"),
)

# Files, batches, vector stores, …: made by an account through the gateway, and seen by nobody else.
objects = Table(
    "objects",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # The upstream's id (`file-…`, `vs_…`), as clients name it.
    Column("id", Text, primary_key=True),
    # The beginning of its path: `files`, `vector_stores`, `fine_tuning/jobs`.
    Column("family", Text, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    # No foreign key: a channel may go, and then nobody has the object any more.
    Column("channel_id", BigInteger, nullable=False),
    Column("channel_key", Integer, nullable=False),
    # As it was seen last, for lists: an upstream's own list has every account's.
    Column("body", JSONB, nullable=False),
    # What the gateway knows of it beside: the requests in a file that is meant for a batch.
    Column("memo", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Whose an id is, where it isn't the asking account's.
    Index("ix_objects_id", "id"),
    Index("ix_objects_family", "account_id", "family", "created_at"),
)

# Batches that an upstream works on, each with the hold that pays for it, and those that are settled.
batches = Table(
    "batches",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hold_id", UUID, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    # NULL: it is being made, or its maker died over it.
    Column("batch_id", Text),
    Column("input_file_id", Text, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("channel_key", Integer, nullable=False),
    Column("model", Text, nullable=False),
    # What its input file asks for: `app.batches.lines.Lines`.
    Column("lines", JSONB, nullable=False),
    Column("looks", Integer, nullable=False, server_default=text("0")),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("settled_at", DateTime(timezone=True)),
    Index("ix_batches_due", "due_at", postgresql_where=text("settled_at IS NULL")),
)
