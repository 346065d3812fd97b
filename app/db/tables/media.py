"""Tables of media: tasks, whose rows are also the queue that workers take from, and the characters of accounts."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from app.db.tables.base import METADATA

tasks = Table(
    "tasks",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # As clients know it: letters, digits, `-`, `_`, `:`.
    Column("id", Text, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    # Which of our APIs it came by: `v2`, `videos` or `chat`.
    Column("source", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("platform", Text, nullable=False),
    # The catalogue's name; the client's own stands in the job.
    Column("model", Text, nullable=False),
    # `app.core.media.Job`, and what it comes to if it succeeds (`app.core.usage.Usage`).
    Column("job", JSONB, nullable=False),
    Column("units", JSONB, nullable=False),
    # The body's digest, for an idempotency key that comes twice.
    Column("idempotency_key", Text),
    Column("digest", Text),
    Column("notify_hook", Text),
    # What clients see.
    Column("status", Text, nullable=False, server_default="NOT_START"),
    Column("progress", SmallInteger, nullable=False, server_default="0"),
    Column("fail_reason", Text, nullable=False, server_default=""),
    Column("fail_code", Text),
    Column("outputs", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    # A client has deleted it: its files are gone, and it is listed no more.
    Column("deleted_at", DateTime(timezone=True)),
    # What is to be done next, NULL when it is final. `sending`: an upstream may have been asked, and it isn't known whether
    # it has accepted. `stuck`: that can't be found out; an operator may, until the deadline gives the money back.
    Column("step", Text),
    Column("cancelled", Boolean, nullable=False, server_default=false()),
    # Its money; the price is that of the channel that was asked last.
    Column("hold_id", UUID, nullable=False),
    Column("price_id", BigInteger),
    Column("cost_id", BigInteger),
    # The only channel that may do it, where a character or an earlier video lives there.
    Column("pinned_to", BigInteger),
    Column("channel_id", BigInteger),
    # Channels of this round that refused for reasons of their own, and how many rounds there were.
    Column("tried", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("rounds", SmallInteger, nullable=False, server_default="0"),
    Column("upstream_model", Text),
    Column("upstream_id", Text),
    Column("memo", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # When it is to be looked at next, and since when it has been polled without an answer.
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("polls", Integer, nullable=False, server_default="0"),
    Column("faults", Integer, nullable=False, server_default="0"),
    Column("last_fault", Text),
    Column("deadline_at", DateTime(timezone=True), nullable=False),
    # A claim is a lease: whoever writes must still have the claim of this number.
    Column("claim", BigInteger, nullable=False, server_default="0"),
    Column("claimed_until", DateTime(timezone=True)),
    CheckConstraint("scope IN ('images', 'videos', 'audio')", name="scope"),
    CheckConstraint("step IN ('submit', 'sending', 'stuck', 'poll')", name="step"),
    CheckConstraint("(step IS NULL) = (status IN ('SUCCESS', 'FAILURE'))", name="final"),
    CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
    UniqueConstraint("account_id", "idempotency_key"),
    Index("ix_tasks_polls", "due_at", postgresql_where=text("step = 'poll'")),
    Index("ix_tasks_orders", "due_at", postgresql_where=text("step <> 'poll'")),
    Index("ix_tasks_account_id_created_at", "account_id", "created_at", "id"),
    Index("ix_tasks_id", "id"),
    Index("ix_tasks_created_at", "created_at", "id"),
    # Two updates a poll: room in the page, and a vacuum that comes before the dead rows slow the queue down.
    postgresql_with={
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

characters = Table(
    "characters",
    METADATA,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # As clients know it: `ch_…`.
    Column("id", Text, primary_key=True),
    Column("key_id", BigInteger, nullable=False),
    Column("username", Text, nullable=False),
    Column("permalink", Text, nullable=False),
    Column("profile_picture_url", Text, nullable=False),
    # Where it lives: only there it can be used.
    Column("channel_id", BigInteger, nullable=False),
    Column("upstream_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deleted_at", DateTime(timezone=True)),
    Index("ix_characters_username", "username"),
)
