"""Runs a file of SQL statements inside a migration's own transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

SQL = Path(__file__).parent / "sql"


def run_script(connection: Connection, name: str) -> None:
    """Executes `migrations/sql/{name}`, several statements at once: asyncpg's simple protocol, not a prepared one."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.run_async(lambda raw: raw.execute((SQL / name).read_text(encoding="utf-8")))
