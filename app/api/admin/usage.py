"""`/admin/v1/usage`: entries as they were charged, and their sums."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.api.admin.guard import admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_uuid_cursor
from app.api.admin.shapes import Dollars, Moment, Name, QueryId, Shape, refuse, write_ratio
from app.api.context import ConnectionDep
from app.catalog.prices import PPM
from app.core.ids import request_label
from app.core.money import write_amount
from app.ledger.entries import Entry, Filter, Group, list_entries, sum_entries
from app.ledger.records import Status

router = admin_router("/usage", "usage")


class UsageFilter(Shape):
    """Which entries."""

    account_id: QueryId | None = None
    key_id: QueryId | None = None
    model: Name | None = None
    channel_id: QueryId | None = Field(None, description="The channel that answered, or that was tried last")
    status: Status | None = None
    since: Moment | None = Field(None, description="From this time on", examples=["2030-01-01T00:00:00Z"])
    until: Moment | None = Field(None, description="Before this time", examples=["2030-02-01T00:00:00Z"])

    def filter(self) -> Filter:
        return Filter(self.account_id, self.key_id, self.model, self.channel_id, self.status, self.since, self.until)


class UsageQuery(UsageFilter, PageQuery):
    """Which entries, and which page of them."""


def _read_groups(value: object) -> object:
    parts = value if isinstance(value, list | tuple) else [value]
    names = [name for part in parts for name in str(part).split(",")]
    if len(set(names)) < len(names) or not set(names) <= set(Group):
        refuse(_BY)
    return tuple(names)


_BY = f"must be a comma-separated choice of {', '.join(Group)}"


class SummaryQuery(UsageFilter):
    """Which entries, and how their sums are split."""

    by: Annotated[
        tuple[Group, ...],
        BeforeValidator(_read_groups),
        WithJsonSchema(
            {"type": "string", "description": f"{_BY.capitalize()}", "default": "day", "examples": ["day,model"]}
        ),
    ] = Field(default_factory=lambda: (Group.DAY,))
    limit: int = Field(1000, ge=1, le=10_000, description="Rows at most")


class EntryBody(Shape):
    """How one request ended: settled and charged, released without charge, or orphaned when its process died."""

    id: UUID
    request_id: str = Field(description="As the client saw it in `x-request-id`")
    created_at: datetime
    account_id: int
    key_id: int
    model: str
    channel_id: int | None
    format: str = Field(description="The client's")
    status: Status
    held: Dollars
    charged: Dollars
    uncollected: Dollars = Field(description="What the usage cost beyond what the account could still pay")
    usage: dict[str, int]
    price: dict[str, Dollars] | None = Field(description="As applied; null for a free model")
    price_ratio: str = Field(description="The account's, as applied")
    estimated: bool = Field(description="The upstream reported no usage, so it was counted here")
    latency_ms: int | None
    first_byte_ms: int | None
    stream: bool
    attempts: int
    error: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019c1a2b-3c4d-7e5f-8a6b-7c8d9e0f1a2b",
                    "request_id": "req_019c1a2b3c4d7e5f8a6b7c8d9e0f1a2b",
                    "created_at": "2030-01-31T12:00:00Z",
                    "account_id": 1,
                    "key_id": 1,
                    "model": "gpt-small",
                    "channel_id": 1,
                    "format": "openai_chat",
                    "status": "settled",
                    "held": "0.0099",
                    "charged": "0.00135",
                    "uncollected": "0",
                    "usage": {"input_tokens": 1000, "output_tokens": 2000},
                    "price": {"input_mtok": "0.15", "output_mtok": "0.6", "per_call": "0"},
                    "price_ratio": "1",
                    "estimated": False,
                    "latency_ms": 812,
                    "first_byte_ms": 204,
                    "stream": True,
                    "attempts": 1,
                    "error": None,
                }
            ]
        }
    )


class SummaryRow(Shape):
    """The sums of one group; of the group's fields those are there that were asked for."""

    day: date | None = Field(None, description="Of UTC")
    model: str | None = None
    key_id: int | None = None
    account_id: int | None = None
    channel_id: int | None = None
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
                    "model": "gpt-small",
                    "requests": 12,
                    "charged": "0.0162",
                    "input_tokens": 12000,
                    "output_tokens": 24000,
                    "estimated": 0,
                }
            ]
        }
    )


class Summary(Shape):
    """Sums, the newest day first."""

    data: list[SummaryRow]
    truncated: bool = Field(description="There are more rows than `limit`")


@router.get("", summary="List entries")
async def list_usage(query: Annotated[UsageQuery, Query()], connection: ConnectionDep) -> Page[EntryBody]:
    """The newest first. An entry appears when its request has ended; open requests show in an account's `held`."""
    before = read_uuid_cursor(query.cursor)
    found = await list_entries(connection, query.filter(), before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda entry: entry.id)


@router.get("/summary", summary="Sum entries", response_model_exclude_unset=True)
async def sum_usage(query: Annotated[SummaryQuery, Query()], connection: ConnectionDep) -> Summary:
    """Requests, charges and tokens by day, model, key, account or channel, or by several of them."""
    rows = await sum_entries(connection, query.filter(), query.by, limit=query.limit + 1)
    return Summary(data=[_write_sums(row) for row in rows[: query.limit]], truncated=len(rows) > query.limit)


def _write(entry: Entry) -> EntryBody:
    return EntryBody(
        id=entry.id,
        request_id=request_label(entry.request_id),
        created_at=entry.created_at,
        account_id=entry.account_id,
        key_id=entry.key_id,
        model=entry.model,
        channel_id=entry.channel_id,
        format=entry.format,
        status=Status(entry.status),
        held=write_amount(entry.held),
        charged=write_amount(entry.charged),
        uncollected=write_amount(entry.uncollected),
        usage=entry.usage,
        price=entry.price,
        price_ratio=write_ratio(Decimal(entry.ratio_ppm) / PPM),
        estimated=entry.estimated,
        latency_ms=entry.latency_ms,
        first_byte_ms=entry.first_byte_ms,
        stream=entry.stream,
        attempts=entry.attempts,
        error=entry.error,
    )


def _write_sums(row: Mapping[str, Any]) -> SummaryRow:
    sums = {name: int(row[name]) for name in ("requests", "input_tokens", "output_tokens", "estimated")}
    groups = {name: value for name, value in row.items() if name not in (*sums, "charged")}
    return SummaryRow(**groups, **sums, charged=write_amount(int(row["charged"])))
