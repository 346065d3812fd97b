"""`GET /v1/account/usage` and `/v1/account/entries`: what the caller's key was charged, summed and one by one.

A key sees its own requests only. Keys are handed to people and programs that needn't trust each other; who may see all of
an account asks the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.accounts.principals import Principal
from app.api.admin.paging import Page, PageQuery, page_of, read_uuid_cursor
from app.api.admin.shapes import Dollars, Moment, Name, Shape, write_ratio
from app.api.admin.usage_filter import groups_schema, read_groups
from app.api.caller import PrincipalDep
from app.api.holder.reports import OwnReportsDep
from app.api.holder.shapes import REFUSALS, REPORT_REFUSALS, HolderQuery
from app.catalog.prices import PPM
from app.core.ids import request_label
from app.core.money import write_amount
from app.ledger.entries import Entry, Filter, Group, list_entries, sum_entries
from app.ledger.records import Status

router = APIRouter(tags=["account"], responses=REFUSALS | REPORT_REFUSALS)

DEFAULT_DAYS = 31
"""What sums reach back to where `since` doesn't say: a page that shows a month stays quick however old the key is."""

MAX_ROWS = 1000
_GROUPS = (Group.DAY, Group.MODEL)


class OwnFilter(HolderQuery):
    """Which of the key's entries."""

    model: Name | None = None
    since: Moment | None = Field(None, description="From this time on", examples=["2030-01-01T00:00:00Z"])
    until: Moment | None = Field(None, description="Before this time", examples=["2030-02-01T00:00:00Z"])


class OwnEntriesQuery(OwnFilter, PageQuery):
    """Which of the key's entries, and which page of them."""


class OwnUsageQuery(OwnFilter):
    """Which of the key's entries, and how their sums are split."""

    by: Annotated[
        tuple[Group, ...], BeforeValidator(partial(read_groups, _GROUPS)), WithJsonSchema(groups_schema(_GROUPS))
    ] = Field(default_factory=lambda: (Group.DAY,))


class OwnEntry(Shape):
    """How one request ended: settled and charged, released without charge, or orphaned when its process died."""

    id: UUID
    request_id: str = Field(description="As it stood in `x-request-id`")
    created_at: datetime
    model: str
    format: str
    status: Status
    charged: Dollars
    usage: dict[str, Any] = Field(description="Counts, and what else a price depended on")
    price: dict[str, Any] | None = Field(description="As applied, before the ratios; null for a free model")
    price_ratio: str
    group_ratio: str
    estimated: bool = Field(description="No usage was reported, so it was counted here")
    stream: bool
    latency_ms: int | None
    first_byte_ms: int | None
    error: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019c1a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b",
                    "request_id": "req_019c1a2b3c4d7e5f8a6b7c8d9e0f1a2b",
                    "created_at": "2030-01-31T12:00:00Z",
                    "model": "gpt-small",
                    "format": "openai_chat",
                    "status": "settled",
                    "charged": "0.00135",
                    "usage": {"input_tokens": 1000, "output_tokens": 2000},
                    "price": {"input_mtok": "0.15", "output_mtok": "0.6"},
                    "price_ratio": "1",
                    "group_ratio": "1",
                    "estimated": False,
                    "stream": True,
                    "latency_ms": 812,
                    "first_byte_ms": 204,
                    "error": None,
                }
            ]
        }
    )


class OwnUsageRow(Shape):
    """The sums of one day, one model, or one model on one day."""

    day: date | None = Field(None, description="Of UTC")
    model: str | None = None
    requests: int
    charged: Dollars
    input_tokens: int
    output_tokens: int
    estimated: int = Field(description="Requests whose usage was estimated")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "day": "2030-01-31",
                    "requests": 12,
                    "charged": "0.0162",
                    "input_tokens": 12000,
                    "output_tokens": 24000,
                    "estimated": 0,
                }
            ]
        }
    )


class OwnUsage(Shape):
    """Sums, the newest day first."""

    data: list[OwnUsageRow]
    truncated: bool = Field(description=f"There are more than {MAX_ROWS} rows: ask for less time")


@router.get("/v1/account/usage", summary="Usage by day or model", response_model_exclude_unset=True)
async def sum_own(
    principal: PrincipalDep, query: Annotated[OwnUsageQuery, Query()], reports: OwnReportsDep
) -> OwnUsage:
    """Sums of the key's requests by day, model, or both; of the last 31 days unless `since` says otherwise."""
    filter = _filter(principal, query, query.since or datetime.now(UTC) - timedelta(days=DEFAULT_DAYS))
    async with reports.open(principal.key_id) as connection:
        rows = await sum_entries(connection, filter, query.by, limit=MAX_ROWS + 1)
    return OwnUsage(data=[_write_sums(row, query.by) for row in rows[:MAX_ROWS]], truncated=len(rows) > MAX_ROWS)


@router.get("/v1/account/entries", summary="Requests one by one")
async def list_own(
    principal: PrincipalDep, query: Annotated[OwnEntriesQuery, Query()], reports: OwnReportsDep
) -> Page[OwnEntry]:
    """The key's requests, the newest first. One appears when it has ended; until then it shows in `held`."""
    before = read_uuid_cursor(query.cursor)
    filter = _filter(principal, query, query.since)
    async with reports.open(principal.key_id) as connection:
        found = await list_entries(connection, filter, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda entry: entry.id)


def _filter(principal: Principal, query: OwnFilter, since: datetime | None) -> Filter:
    return Filter(
        account_id=principal.account_id, key_id=principal.key_id, model=query.model, since=since, until=query.until
    )


def _write(entry: Entry) -> OwnEntry:
    return OwnEntry(
        id=entry.id,
        request_id=request_label(entry.request_id),
        created_at=entry.created_at,
        model=entry.model,
        format=entry.format,
        status=Status(entry.status),
        charged=write_amount(entry.charged),
        usage=entry.usage,
        price=entry.price,
        price_ratio=write_ratio(Decimal(entry.ratio_ppm) / PPM),
        group_ratio=write_ratio(Decimal(entry.group_ppm) / PPM),
        estimated=entry.estimated,
        stream=entry.stream,
        latency_ms=entry.latency_ms,
        first_byte_ms=entry.first_byte_ms,
        error=entry.error,
    )


def _write_sums(row: Mapping[str, Any], by: tuple[Group, ...]) -> OwnUsageRow:
    counts = {name: int(row[name]) for name in ("requests", "input_tokens", "output_tokens", "estimated")}
    groups = {group.value: row[group.value] for group in by}
    return OwnUsageRow(**groups, **counts, charged=write_amount(int(row["charged"])))
