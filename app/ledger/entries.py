"""What was used and charged, read back: entries by filter, newest first, and their sums.

An entry's id is a UUID version 7, so id order is time order, and the primary key (account, id) serves every page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Date, Row, Select, cast, func, select, text, true
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.accounts import accounts, keys
from app.db.tables.catalog import prices
from app.db.tables.ledger import entries
from app.errors import GatewayError, Kind
from app.ledger.records import Status

CLOCK_MARGIN = 24 * 3600 * 1000
"""Milliseconds by which the clock of the process that drew an id may differ from the database's, which wrote the time."""

_TIMEOUT = text("SET LOCAL statement_timeout = '15s'")
_CANCELLED = "57014"  # query_canceled, https://www.postgresql.org/docs/current/errcodes-appendix.html


class Group(StrEnum):
    """What sums may be split by. A day is one of UTC."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    ACCOUNT = "account"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; None doesn't restrict. `since` is included, `until` isn't."""

    account_id: int | None = None
    key_id: int | None = None
    model: str | None = None
    channel_id: int | None = None
    status: Status | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One request's end. Amounts are nano-dollars; `price` is the body of the price row that was applied, None if free."""

    account_id: int
    id: UUID
    key_id: int
    request_id: UUID
    created_at: datetime
    model: str
    channel_id: int | None
    format: str
    status: str
    held: int
    charged: int
    uncollected: int
    usage: dict[str, int]
    price_id: int | None
    ratio_ppm: int
    group_ppm: int
    cost: int | None
    estimated: bool
    stream: bool
    latency_ms: int | None
    first_byte_ms: int | None
    attempts: int
    error: str | None
    price: dict[str, str] | None


async def list_entries(connection: AsyncConnection, filter: Filter, *, before: UUID | None, limit: int) -> list[Entry]:
    """Newest first, with ids below `before`. Raises GatewayError 400 when it takes too long."""
    rows = await _execute(connection, _page(filter, before, limit))
    return [Entry(**row._mapping) for row in rows]


async def sum_entries(
    connection: AsyncConnection, filter: Filter, by: Sequence[Group], *, limit: int
) -> list[Mapping[str, Any]]:
    """Sums split by `by`, in its order, the newest day first: the columns of the groups, then requests, charged
    (nano-dollars), input_tokens, output_tokens and estimated (how many of the requests are). Raises GatewayError 400 when
    it takes too long.
    """
    groups = [_column(group) for group in by]
    query = (
        select(
            *groups,
            func.count().label("requests"),
            func.sum(entries.c.charged).label("charged"),
            _tokens("input_tokens"),
            _tokens("output_tokens"),
            func.count().filter(entries.c.estimated).label("estimated"),
        )
        .where(*_conditions(filter))
        .group_by(*groups)
        .order_by(*(column.desc() if group is Group.DAY else column for group, column in zip(by, groups, strict=True)))
        .limit(limit)
    )
    return [dict(row._mapping) for row in await _execute(connection, query)]


async def _execute(connection: AsyncConnection, query: Select[Any]) -> Sequence[Row[Any]]:
    """Bounded: the ledger shares its database with whoever asks for the sums of ten years."""
    await connection.execute(_TIMEOUT)
    try:
        rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _CANCELLED:
            raise
        message = "This takes too long to look up; narrow it with `since` and `until`, or name an account."
        raise GatewayError(Kind.INVALID, "query_too_broad", message, param="since") from error
    return rows


def _page(filter: Filter, before: UUID | None, limit: int) -> Select[Any]:
    conditions = _conditions(filter)
    if before is not None:
        conditions.append(entries.c.id < before)
    newest = select(entries).where(*conditions).order_by(entries.c.id.desc()).limit(limit)
    if filter.account_id is None and filter.key_id is None:
        # The newest of each account, merged: there is no index over all, which every request would pay for.
        each = newest.where(entries.c.account_id == accounts.c.id).lateral("each")
        newest = select(each).select_from(accounts.join(each, true())).order_by(each.c.id.desc()).limit(limit)
    page = newest.subquery("page")
    priced = page.outerjoin(prices, prices.c.id == page.c.price_id)
    return select(page, prices.c.body.label("price")).select_from(priced).order_by(page.c.id.desc())


def _conditions(filter: Filter) -> list[ColumnElement[bool]]:
    column = entries.c
    found: list[ColumnElement[bool]] = []
    if filter.account_id is not None:
        found.append(column.account_id == filter.account_id)
    if filter.key_id is not None:
        owner = select(keys.c.account_id).where(keys.c.id == filter.key_id).scalar_subquery()
        found += [column.key_id == filter.key_id, column.account_id == owner]
    if filter.model is not None:
        found.append(column.model == filter.model)
    if filter.channel_id is not None:
        found.append(column.channel_id == filter.channel_id)
    if filter.status is not None:
        found.append(column.status == filter.status.value)
    if filter.since is not None:
        found += [column.created_at >= filter.since, column.id >= _first_id(filter.since, -CLOCK_MARGIN)]
    if filter.until is not None:
        found += [column.created_at < filter.until, column.id < _first_id(filter.until, CLOCK_MARGIN)]
    return found


def _first_id(moment: datetime, margin: int) -> UUID:
    """The lowest id of a millisecond: what lets the primary key find a time."""
    milliseconds = int(moment.timestamp() * 1000) + margin
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


def _column(group: Group) -> ColumnElement[Any]:
    column = entries.c
    match group:
        case Group.DAY:
            return cast(func.timezone("UTC", column.created_at), Date).label("day")
        case Group.MODEL:
            return column.model
        case Group.KEY:
            return column.key_id
        case Group.ACCOUNT:
            return column.account_id
        case Group.CHANNEL:
            return column.channel_id


def _tokens(name: str) -> ColumnElement[int]:
    count = cast(entries.c.usage[name].astext, BigInteger)
    return func.coalesce(func.sum(count), 0).label(name)
