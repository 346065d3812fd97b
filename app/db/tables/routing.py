"""The table of channels that are out: what one process has found out, so that no other does by its own users' pain."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Integer, Table, Text, false, func, text

from app.db.tables.base import METADATA

outages = Table(
    "outages",
    METADATA,
    Column("channel_id", BigInteger, ForeignKey("channels.id", ondelete="CASCADE"), primary_key=True),
    # The upstream's name of the model; empty: the channel as a whole.
    Column("model", Text, primary_key=True),
    # The number of one of the channel's keys; -1: all of them.
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    # What happened, as an error code; never an upstream's own words.
    Column("reason", Text, nullable=False),
    # The upstream named the pause itself.
    Column("requested", Boolean, nullable=False, server_default=false()),
    # How many times in a row it has been out: what the next pause grows with.
    Column("failures", Integer, nullable=False, server_default=text("1")),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Until then nobody tries; after that, one request at a time does.
    Column("until", DateTime(timezone=True), nullable=False),
    # When the operator was told; NULL: not yet, or nothing to tell.
    Column("told_at", DateTime(timezone=True)),
)
