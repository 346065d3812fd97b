"""One process's way to PostgreSQL: a SQLAlchemy engine for everything but the hot path, raw connections for that."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from asyncpg import Connection

CONNECT_TIMEOUT = 5.0
REPORT_CONNECTIONS = 2
REPORT_WAIT = 6.0
"""Seconds for a connection of `Database.reports`: a holder's report, which gets 5, has then made room."""

DATABASE_ERRORS = (OSError, TimeoutError, DBAPIError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""Everything that a database which is away, restarting or overloaded raises, from the driver or from SQLAlchemy."""


class DatabaseUrlError(ValueError):
    """RELAYGATE_DATABASE_URL isn't a PostgreSQL URL."""


def normalise_url(url: str) -> str:
    """Accepts what people paste (`postgres://`, SQLAlchemy's `postgresql+asyncpg://`); returns a libpq URL."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        shown = urlsplit(url).scheme or "nothing"
        raise DatabaseUrlError(f"the database URL must start with postgresql://, not with {shown!r}")
    return f"postgresql://{rest}"


class Database:
    """Connects to one database; `engine` pools, `connect()` gives a connection of the caller's own.

    `reports` is another pool, for queries that may take seconds: whoever asks for many of them waits for those, and
    nobody else does.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self.url = normalise_url(url)
        self.engine = self._pool(pool_size, CONNECT_TIMEOUT)
        self.reports = self._pool(REPORT_CONNECTIONS, REPORT_WAIT)

    async def connect(self, **server_settings: str) -> Connection:
        """A new asyncpg connection. Raises OSError or asyncpg.PostgresError while the database is away."""
        settings = {"application_name": "relaygate", "jit": "off", **server_settings}
        return await asyncpg.connect(self.url, timeout=CONNECT_TIMEOUT, server_settings=settings)

    async def close(self) -> None:
        await self.reports.dispose()
        await self.engine.dispose()

    def _pool(self, size: int, timeout: float) -> AsyncEngine:
        """Connects when it is first used."""
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=size,
            max_overflow=0,
            pool_timeout=timeout,
            pool_pre_ping=True,
        )
