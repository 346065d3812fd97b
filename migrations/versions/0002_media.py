"""Media: tasks and characters, what signs callbacks, and how long a model's tasks may take."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The money of tasks is held by an owner that never dies, so that no sweep takes it for a dead process's: a task ends its hold
# itself, whichever process is at it (`app/media/store.py`).
HELD_BY_TASKS = "INSERT INTO instances (id, lease_until) VALUES ('00000000-0000-0000-0000-000000000000', 'infinity')"


def upgrade() -> None:
    op.add_column("models", sa.Column("task_timeout", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_models_task_timeout"), "models", "task_timeout > 0")
    op.create_table(
        "callback_secrets",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_callback_secrets_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_callback_secrets")),
    )
    op.create_table(
        "characters",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("permalink", sa.Text(), nullable=False),
        sa.Column("profile_picture_url", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.BigInteger(), nullable=False),
        sa.Column("upstream_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_characters")),
    )
    op.create_index("ix_characters_username", "characters", ["username"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("job", postgresql.JSONB(), nullable=False),
        sa.Column("units", postgresql.JSONB(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("notify_hook", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="NOT_START", nullable=False),
        sa.Column("progress", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("fail_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("fail_code", sa.Text(), nullable=True),
        sa.Column("outputs", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("cancelled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("hold_id", postgresql.UUID(), nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=True),
        sa.Column("cost_id", sa.BigInteger(), nullable=True),
        sa.Column("pinned_to", sa.BigInteger(), nullable=True),
        sa.Column("channel_id", sa.BigInteger(), nullable=True),
        sa.Column("tried", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("rounds", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("upstream_model", sa.Text(), nullable=True),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.Column("memo", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("faults", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_fault", sa.Text(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claim", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(step IS NULL) = (status IN ('SUCCESS', 'FAILURE'))", name=op.f("ck_tasks_final")),
        sa.CheckConstraint("scope IN ('images', 'videos', 'audio')", name=op.f("ck_tasks_scope")),
        sa.CheckConstraint("step IN ('submit', 'sending', 'stuck', 'poll')", name=op.f("ck_tasks_step")),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name=op.f("ck_tasks_progress")),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("account_id", "idempotency_key", name=op.f("uq_tasks_account_id_idempotency_key")),
        postgresql_with={
            "fillfactor": "50",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index("ix_tasks_account_id_created_at", "tasks", ["account_id", "created_at", "id"], unique=False)
    op.create_index("ix_tasks_polls", "tasks", ["due_at"], unique=False, postgresql_where=sa.text("step = 'poll'"))
    op.create_index("ix_tasks_orders", "tasks", ["due_at"], unique=False, postgresql_where=sa.text("step <> 'poll'"))
    op.create_index("ix_tasks_id", "tasks", ["id"], unique=False)
    op.create_index("ix_tasks_created_at", "tasks", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_deliveries_claimed",
        "deliveries",
        ["account_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending' AND claimed_until IS NOT NULL"),
    )
    op.execute(HELD_BY_TASKS)
