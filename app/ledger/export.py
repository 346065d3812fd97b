"""Entries as CSV, page by page: each page is one short query that PostgreSQL itself turns into lines.

Pages follow the primary key (account, id), so that a page costs the same wherever it lies, and nothing is held in the
database between two of them: a reader may be as slow as it likes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Numeric, Select, String, case, cast, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.tables.catalog import prices
from app.db.tables.ledger import entries
from app.ledger.entries import Filter, conditions
from app.ledger.reports import open_report, read_report

PAGE = 500
"""Lines a query: about 200 kB, and a few milliseconds of this process's time."""

_TRIES = 10
"""To get a connection for a page after the first: an export that broke off would have to begin again."""

_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
"""What makes a spreadsheet take a cell for a formula, https://owasp.org/www-community/attacks/CSV_Injection."""


async def export_entries(engine: AsyncEngine, filter: Filter) -> AsyncIterator[str]:
    """A page at a time, the first with the header; in the order of account and id. Lines end with CRLF (RFC 4180).

    Amounts are dollars. A text that a spreadsheet would take for a formula begins with `'`. Entries that are written
    meanwhile may or may not be among the lines. `engine` is `Database.reports`. Raises GatewayError: 400 when a page takes
    too long to find, 503 when other reports keep it waiting; and what the database raises.
    """
    head = ",".join(_cells()) + "\r\n"
    after: tuple[int, UUID] | None = None
    while True:
        async with open_report(engine, tries=_TRIES if after else 1) as connection:
            rows = await read_report(connection, _page(filter, after))
        yield head + "".join([row.line for row in rows])
        if len(rows) < PAGE:
            return
        head = ""
        after = rows[-1].account_id, rows[-1].id


def _page(filter: Filter, after: tuple[int, UUID] | None) -> Select[Any]:
    column = entries.c
    chosen = conditions(filter)
    if after is not None:
        chosen.append(tuple_(column.account_id, column.id) > tuple_(*after))
    # concat_ws leaves NULLs out, separators and all.
    cells = [func.coalesce(cell, "") for cell in _cells().values()]
    return (
        select(column.account_id, column.id, func.concat(func.concat_ws(",", *cells), "\r\n").label("line"))
        .select_from(entries.outerjoin(prices, prices.c.id == column.price_id))
        .where(*chosen)
        .order_by(column.account_id, column.id)
        .limit(PAGE)
    )


def _cells() -> Mapping[str, ColumnElement[Any]]:
    """The header's names, and how each cell is written. NULL is an empty cell."""
    column = entries.c
    moment = func.to_char(func.timezone("UTC", column.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return {
        "created_at": moment,
        "account_id": _plain(column.account_id),
        "key_id": _plain(column.key_id),
        "model": _text(column.model),
        "channel_id": _plain(column.channel_id),
        "status": _plain(column.status),
        "charged": _decimal(column.charged, 9),
        "cost": _decimal(column.cost, 9),
        "margin": _decimal(column.charged - column.cost, 9),
        "uncollected": _decimal(column.uncollected, 9),
        "held": _decimal(column.held, 9),
        "price_ratio": _decimal(column.ratio_ppm, 6),
        "group_ratio": _decimal(column.group_ppm, 6),
        "input_tokens": column.usage["input_tokens"].astext,
        "output_tokens": column.usage["output_tokens"].astext,
        "usage": _text(cast(column.usage, String)),
        "price": _text(cast(prices.c.body, String)),
        "estimated": _plain(column.estimated),
        "stream": _plain(column.stream),
        "attempts": _plain(column.attempts),
        "latency_ms": _plain(column.latency_ms),
        "first_byte_ms": _plain(column.first_byte_ms),
        "error": _text(column.error),
        "format": _text(column.format),
        "id": _plain(column.id),
        "request_id": func.concat("req_", func.replace(cast(column.request_id, String), "-", "")),
    }


def _plain(value: ColumnElement[Any]) -> ColumnElement[str]:
    """Numbers, ids, flags and our own words: they need no quotes."""
    return cast(value, String)


def _text(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Quoted, and never a formula. NULL stays NULL, since || keeps it."""
    safe = case((value.regexp_match(_FORMULA), literal("'").concat(value)), else_=value)
    return literal('"').concat(func.replace(safe, '"', '""')).concat('"')


def _decimal(value: ColumnElement[Any], places: int) -> ColumnElement[str]:
    """A count of 10^-places as a decimal without trailing zeros; a product of numerics is exact."""
    return cast(func.trim_scale(value * literal(Decimal(1).scaleb(-places), Numeric)), String)
