"""Runs migrations on the connection that `app.db.migrate` passes in; offline mode prints SQL."""

from __future__ import annotations

from alembic import context

from app.db.tables import METADATA


def _is_declared(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions come and go with the months; they are no drift."""
    return not (kind == "table" and name is not None and name.startswith("entries_"))


connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(dialect_name="postgresql", target_metadata=METADATA, literal_binds=True)
else:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        compare_server_default=True,
        transaction_per_migration=True,
        include_name=_is_declared,
    )
with context.begin_transaction():
    context.run_migrations()
