"""Channels that are out, options of models, and which of a channel's keys an answer is kept under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outages",
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("channel_id", "model", "key", name=op.f("pk_outages")),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_outages_channel_id_channels"), ondelete="CASCADE"
        ),
    )
    op.add_column("models", sa.Column("options", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    op.add_column("kept_answers", sa.Column("channel_key", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute(
        """
        CREATE FUNCTION announce_outages() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('relaygate', 'outages');
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER outages_announce AFTER INSERT OR UPDATE OR DELETE ON outages "
        "FOR EACH STATEMENT EXECUTE FUNCTION announce_outages()"
    )
