"""`/admin/v1/usage`: entries as they were charged, and their sums."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.api.admin import usage_csv
from app.api.admin.guard import admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_uuid_cursor
from app.api.admin.shapes import Dollars, Shape, write_ratio
from app.api.admin.usage_filter import REFUSALS, UsageFilter, groups_schema, read_groups
from app.api.context import ServicesDep
from app.catalog.prices import PPM
from app.core.ids import request_label
from app.core.money import write_amount
from app.ledger.entries import Entry, Group, list_entries, sum_entries
from app.ledger.records import Status
from app.ledger.reports import open_report

router = admin_router("", "usage", "usage")
router.include_router(usage_csv.router)


class UsageQuery(UsageFilter, PageQuery):
    """Which entries, and which page of them."""


_ALL_GROUPS = tuple(Group)


class SummaryQuery(UsageFilter):
    """Which entries, and how their sums are split."""

    by: Annotated[
        tuple[Group, ...],
        BeforeValidator(partial(read_groups, _ALL_GROUPS)),
        WithJsonSchema(groups_schema(_ALL_GROUPS)),
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
    usage: dict[str, Any] = Field(description="Counts, and what else a price depended on")
    price: dict[str, Any] | None = Field(description="As applied, before the ratios; null for a free model")
    price_ratio: str = Field(description="The account's, as applied")
    group_ratio: str = Field(description="The model group's, as applied beside it")
    cost: Dollars | None = Field(description="What the vendor takes for it; null if unknown")
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
                    "price": {"input_mtok": "0.15", "output_mtok": "0.6"},
                    "price_ratio": "1",
                    "group_ratio": "1",
                    "cost": "0.0009",
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
    cost: Dollars | None = Field(description="What vendors take, where it is known; null if it is for no request")
    margin: Dollars | None = Field(description="What was charged less the cost, over the requests whose cost is known")
    cost_unknown: int = Field(description="Requests that weren't released and whose cost isn't known")

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
                    "cost": "0.012",
                    "margin": "0.0042",
                    "cost_unknown": 0,
                }
            ]
        }
    )


_COUNTS = ("requests", "input_tokens", "output_tokens", "estimated", "cost_unknown")
_AMOUNTS = ("charged", "cost", "margin")


class Summary(Shape):
    """Sums, the newest day first."""

    data: list[SummaryRow]
    truncated: bool = Field(description="There are more rows than `limit`")


@router.get("/usage", summary="List entries", responses=REFUSALS)
async def list_usage(query: Annotated[UsageQuery, Query()], services: ServicesDep) -> Page[EntryBody]:
    """The newest first. An entry appears when its request has ended; open requests show in an account's `held`."""
    before = read_uuid_cursor(query.cursor)
    async with open_report(services.database.reports) as connection:
        found = await list_entries(connection, query.filter(), before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda entry: entry.id)


@router.get("/usage/summary", summary="Sum entries", responses=REFUSALS, response_model_exclude_unset=True)
async def sum_usage(query: Annotated[SummaryQuery, Query()], services: ServicesDep) -> Summary:
    """Requests, charges, tokens, cost and margin by day, model, key, account or channel, or by several of them."""
    async with open_report(services.database.reports) as connection:
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
        group_ratio=write_ratio(Decimal(entry.group_ppm) / PPM),
        cost=_write_known(entry.cost),
        estimated=entry.estimated,
        latency_ms=entry.latency_ms,
        first_byte_ms=entry.first_byte_ms,
        stream=entry.stream,
        attempts=entry.attempts,
        error=entry.error,
    )


def _write_sums(row: Mapping[str, Any]) -> SummaryRow:
    counts = {name: int(row[name]) for name in _COUNTS}
    amounts = {name: _write_known(row[name]) for name in _AMOUNTS}
    groups = {name: value for name, value in row.items() if name not in _COUNTS + _AMOUNTS}
    return SummaryRow.model_validate({**groups, **counts, **amounts})


def _write_known(nano: Decimal | int | None) -> str | None:
    return None if nano is None else write_amount(int(nano))
