"""`/admin/v1/usage.csv`: entries for a spreadsheet, streamed in flat memory however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.api.admin.guard import admin_router
from app.api.admin.usage_filter import REFUSALS, UsageFilter
from app.api.context import ServicesDep
from app.db.engine import DATABASE_ERRORS
from app.errors import GatewayError
from app.ledger.export import export_entries
from app.logs import get_log
from app.relay.exchange import Message

log = get_log("relaygate.api")

router = admin_router("", "usage", "usage")

_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A header, then one line an entry.",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    },
    **REFUSALS,
}


class CsvResponse(StreamingResponse):
    """Pages of text. One that can't be finished is broken off, so that a part is never taken for the whole."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, pages: AsyncIterator[str], *, write_timeout: float) -> None:
        super().__init__(pages, headers={"content-disposition": 'attachment; filename="usage.csv"'})
        self._write_timeout = write_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._write_timeout):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except (GatewayError, ClientDisconnect, *DATABASE_ERRORS) as error:  # TimeoutError is one of them
            # Returning without an end makes the server close the connection: the client sees a broken transfer.
            log.warning("export_cut", error=type(error).__name__)


@router.get("/usage.csv", summary="Export entries", responses=_CONTENT, response_class=StreamingResponse)
async def export_usage(query: Annotated[UsageFilter, Query()], services: ServicesDep) -> CsvResponse:
    """All entries that the filter chooses, by account and time, as CSV: amounts in dollars, `usage` and `price` as JSON.

    A text that a spreadsheet would take for a formula begins with an apostrophe. A transfer that breaks off is incomplete.
    """
    pages = export_entries(services.database.reports, query.filter())
    first = await anext(pages)  # before the status: a filter that is too broad is still a 400
    return CsvResponse(_chain(first, pages), write_timeout=services.settings.write_timeout)


async def _chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for page in rest:
        yield page
