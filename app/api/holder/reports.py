"""Reports that holders ask for: one at a time for each key, on connections that no request to a model needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.errors import GatewayError, Kind
from app.ledger.reports import open_report, reports_busy

SECONDS = 5
"""For each statement: a third of what an operator's may take."""

MAX_OPEN = 50
"""Reports of holders at a time, most of them waiting for a connection: more would wait in vain."""


class OwnReports:
    """Which keys are having a report made. One process's memory: replicas count for themselves."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._open: set[int] = set()

    @asynccontextmanager
    async def open(self, key_id: int) -> AsyncIterator[AsyncConnection]:
        """A connection for the key's report. Raises GatewayError: 429 while another of the key's is being made, 503 when
        those of other keys leave no room.
        """
        if key_id in self._open:
            message = "Another report of this key is being made; ask for one after the other."
            raise GatewayError(Kind.RATE_LIMIT, "report_running", message, retry_after=1)
        if len(self._open) >= MAX_OPEN:
            raise reports_busy()
        self._open.add(key_id)
        try:
            async with open_report(self._engine, seconds=SECONDS) as connection:
                yield connection
        finally:
            self._open.discard(key_id)


def install(api: FastAPI, engine: AsyncEngine) -> None:
    """Adds the memory of open reports, which are made on `engine`."""
    api.state.own_reports = OwnReports(engine)


async def _own_reports(request: Request) -> OwnReports:
    reports: OwnReports = request.app.state.own_reports
    return reports


OwnReportsDep = Annotated[OwnReports, Depends(_own_reports)]
