"""What was used and charged, read back: entries by filter, newest first, and their sums.

An entry's id is a UUID version 7, so id order is time order: the indexes, which end with the id, serve every page of an
account or a key, and a stretch of time is a few of the monthly partitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Date, Row, Select, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.accounts import keys
from app.db.tables.catalog import prices
from app.db.tables.ledger import entries
from app.ledger.records import Status
from app.ledger.reports import read_report

CLOCK_MARGIN = 24 * 3600 * 1000
"""Milliseconds by which the clock of the process that drew an id may differ from the database's, which wrote the time."""

_WINDOWS = (1, 24, 31 * 24)
"""Hours."""

_IN_ORDER = text("SET LOCAL enable_sort = off")
"""PostgreSQL doesn't know that a key has one account: it expects next to no entries of a key in an account, and would read
all there are to sort them, where the index has them in order and a page takes fifty."""


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
    """One request's end. Amounts are nano-dollars; `cost` is what the vendor takes, None if unknown; `price` is the body of
    the price row that was applied, None if free.
    """

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
    usage: dict[str, Any]
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
    price: dict[str, Any] | None


async def list_entries(connection: AsyncConnection, filter: Filter, *, before: UUID | None, limit: int) -> list[Entry]:
    """Newest first, with ids below `before`. Raises GatewayError 400 when it takes longer than `open_report` lets it."""
    rows: Sequence[Row[Any]] = ()
    if filter.account_id is not None or filter.key_id is not None:
        await connection.execute(_IN_ORDER)
    for after in _floors(filter, before):
        rows = await read_report(connection, _page(filter, before, after, limit))
        if len(rows) == limit:
            break
    return [Entry(**row._mapping) for row in rows]


async def sum_entries(
    connection: AsyncConnection, filter: Filter, by: Sequence[Group], *, limit: int
) -> list[Mapping[str, Any]]:
    """Sums split by `by`, in its order, the newest day first: the columns of the groups, then requests, charged
    (nano-dollars), input_tokens, output_tokens and estimated (how many of the requests are); cost and margin (nano-dollars,
    None where no cost is known) over the requests whose cost is known, and cost_unknown, how many were answered without one.
    Raises GatewayError 400 when it takes longer than `open_report` lets it.
    """
    groups = [_column(group) for group in by]
    column = entries.c
    known, answered = column.cost.is_not(None), column.status != Status.RELEASED.value
    query = (
        select(
            *groups,
            func.count().label("requests"),
            func.sum(column.charged).label("charged"),
            _tokens("input_tokens"),
            _tokens("output_tokens"),
            func.count().filter(column.estimated).label("estimated"),
            func.sum(column.cost).label("cost"),
            (func.sum(column.charged).filter(known) - func.sum(column.cost)).label("margin"),
            func.count().filter(~known, answered).label("cost_unknown"),
        )
        .where(*conditions(filter))
        .group_by(*groups)
        .order_by(*(column.desc() if group is Group.DAY else column for group, column in zip(by, groups, strict=True)))
        .limit(limit)
    )
    return [dict(row._mapping) for row in await read_report(connection, query)]


def _floors(filter: Filter, before: UUID | None) -> Iterator[UUID | None]:
    """From which id on to look for a page, one after the other until it is full; None is from the first.

    An account's newest are found by its index. For all accounts there is none, which every request would pay for; but ids
    are in the order of time, and the newest page is mostly that of the last hour.
    """
    if filter.account_id is None and filter.key_id is None:
        now = time.time_ns() // 1_000_000
        ends = [now] if before is None else [before.int >> 80]
        if filter.until is not None:
            ends.append(int(filter.until.timestamp() * 1000) + CLOCK_MARGIN)
        for hours in _WINDOWS:
            yield UUID(int=max(0, min(ends) - hours * 3_600_000) << 80)
    yield None


def _page(filter: Filter, before: UUID | None, after: UUID | None, limit: int) -> Select[Any]:
    chosen = conditions(filter)
    if before is not None:
        chosen.append(entries.c.id < before)
    if after is not None:
        chosen.append(entries.c.id >= after)
    page = select(entries).where(*chosen).order_by(entries.c.id.desc()).limit(limit).subquery("page")
    priced = page.outerjoin(prices, prices.c.id == page.c.price_id)
    return select(page, prices.c.body.label("price")).select_from(priced).order_by(page.c.id.desc())


def conditions(filter: Filter) -> list[ColumnElement[bool]]:
    """The filter as SQL. A time bounds the ids too, so that months that can't hold it aren't looked at."""
    column = entries.c
    found: list[ColumnElement[bool]] = []
    if filter.account_id is not None:
        found.append(column.account_id == filter.account_id)
    if filter.key_id is not None:
        found.append(column.key_id == filter.key_id)
        if filter.account_id is None:  # the indexes begin with the account
            owner = select(keys.c.account_id).where(keys.c.id == filter.key_id).scalar_subquery()
            found.append(column.account_id == owner)
    if filter.model is not None:
        found.append(column.model == filter.model)
    if filter.channel_id is not None:
        found.append(column.channel_id == filter.channel_id)
    if filter.status is not None:
        found.append(column.status == filter.status.value)
    if filter.since is not None:
        found += [column.created_at >= filter.since, column.id >= first_id(filter.since, -CLOCK_MARGIN)]
    if filter.until is not None:
        found += [column.created_at < filter.until, column.id < first_id(filter.until, CLOCK_MARGIN)]
    return found


def first_id(moment: datetime, margin: int = 0) -> UUID:
    """The lowest id of a time, `margin` milliseconds later: what lets partitions and indexes find it."""
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
