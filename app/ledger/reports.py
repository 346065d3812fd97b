"""Reports: reads of the ledger that may take seconds, on few connections of their own and never for long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.errors import Blame, GatewayError, Kind

SECONDS = 15
"""For each statement: the ledger shares its database with whoever asks for the sums of ten years."""

_CANCELLED = "57014"  # query_canceled, https://www.postgresql.org/docs/current/errcodes-appendix.html


@asynccontextmanager
async def open_report(engine: AsyncEngine, *, seconds: int = SECONDS, tries: int = 1) -> AsyncIterator[AsyncConnection]:
    """A transaction whose statements end after `seconds`. The engine is `Database.reports`.

    Raises GatewayError 503 `reports_busy` when other reports keep all its connections, `tries` times as long as it waits.
    """
    async with AsyncExitStack() as stack:
        while True:
            tries -= 1
            try:
                connection = await stack.enter_async_context(engine.begin())
                break
            except PoolTimeoutError as error:
                if tries < 1:
                    raise reports_busy() from error
        await connection.execute(select(func.set_config("statement_timeout", f"{seconds}s", True)))
        yield connection


async def read_report(connection: AsyncConnection, query: Select[Any]) -> Sequence[Row[Any]]:
    """The rows. Raises GatewayError 400 `query_too_broad` when the time that `open_report` set is over."""
    try:
        rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _CANCELLED:
            raise
        message = "This takes too long to look up; narrow it with `since` and `until`, or name an account."
        raise GatewayError(Kind.INVALID, "query_too_broad", message, param="since") from error
    return rows


def reports_busy() -> GatewayError:
    """A 503: the database is there, and other reports keep it busy."""
    message = "Other reports are being made; try again in a few seconds."
    return GatewayError(Kind.UNAVAILABLE, "reports_busy", message, blame=Blame.GATEWAY, retry_after=5)
