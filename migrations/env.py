"""Runs migrations on the connection that `app.db.migrate` passes in; offline mode prints SQL."""

from __future__ import annotations

from alembic import context

from app.db.tables import METADATA

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name="postgresql", target_metadata=METADATA, literal_binds=True)
else:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        compare_server_default=True,
        transaction_per_migration=True,
    )
with context.begin_transaction():
    context.run_migrations()
