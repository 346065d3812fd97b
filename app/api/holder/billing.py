"""The billing paths that clients of one-api style platforms ask for what is left: OpenAI's old shapes, numbers included.

https://github.com/songquanpeng/one-api/blob/main/controller/billing.go: such clients show `hard_limit_usd` less a hundredth
of `total_usage`, whatever dates they asked for, so `total_usage` is all that was ever charged, as it is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import store
from app.accounts.principals import Principal
from app.api.admin.shapes import Shape
from app.api.caller import PrincipalDep
from app.api.context import ConnectionDep, ServicesDep
from app.api.holder.reports import OwnReportsDep
from app.api.holder.shapes import REFUSALS, REPORT_REFUSALS, HolderQuery
from app.core.money import NANO_PER_DOLLAR
from app.ledger import wallets
from app.ledger.entries import Filter, Group, sum_entries

router = APIRouter(tags=["account"], responses=REFUSALS)

NANO_PER_CENT = NANO_PER_DOLLAR // 100
MAX_DAYS = 100
"""What clients ask for at most: OpenAI's own page took no more."""

MAX_ITEMS = 10_000
ALL_MODELS = "all models"
"""The one item of a day where its models would be too many to list: what is left out would be missing from the sums."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Subscription(Shape):
    """What was granted in all, in dollars: the key's quota, or without one what its account was granted."""

    object: Literal["billing_subscription"] = "billing_subscription"
    has_payment_method: bool = True
    soft_limit_usd: float
    hard_limit_usd: float
    system_hard_limit_usd: float
    access_until: int = Field(description="When the key expires, Unix seconds; 0: never")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "billing_subscription",
                    "has_payment_method": True,
                    "soft_limit_usd": 5.0,
                    "hard_limit_usd": 5.0,
                    "system_hard_limit_usd": 5.0,
                    "access_until": 0,
                }
            ]
        }
    )


class LineItem(Shape):
    """One model's share of a day."""

    name: str
    cost: float = Field(description="Cents")


class DailyCost(Shape):
    """One day of UTC."""

    timestamp: int = Field(description="Its beginning, Unix seconds")
    line_items: list[LineItem]


class BillingUsage(Shape):
    """What was charged."""

    object: Literal["list"] = "list"
    total_usage: float = Field(description="Cents, of all time: the key's, or without a quota its account's")
    daily_costs: list[DailyCost] = Field(description="The key's own, of the dates asked for, the newest first")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "object": "list",
                    "total_usage": 75.0,
                    "daily_costs": [{"timestamp": 1896048000, "line_items": [{"name": "gpt-small", "cost": 75.0}]}],
                }
            ]
        }
    )


def _read_date(value: object) -> object:
    """None for what isn't a date: one-api looks at none, so its clients send all sorts."""
    if isinstance(value, str) and _DATE.fullmatch(value) is not None:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    return None


Day = Annotated[date | None, BeforeValidator(_read_date), WithJsonSchema({"type": "string", "format": "date"})]


class BillingQuery(HolderQuery):
    """Days of UTC; the end isn't included, as it wasn't at OpenAI. What isn't a date is as if it weren't there, and so is
    whatever else clients send.
    """

    start_date: Day = Field(None, description="Without it there are no `daily_costs`", examples=["2030-01-01"])
    end_date: Day = Field(None, description="Absent: up to now", examples=["2030-02-01"])

    model_config = ConfigDict(extra="ignore")


@router.get("/v1/dashboard/billing/subscription", summary="What was granted (for one-api style clients)")
@router.get("/dashboard/billing/subscription", include_in_schema=False)
async def get_subscription(principal: PrincipalDep, connection: ConnectionDep) -> Subscription:
    """`hard_limit_usd` less a hundredth of `total_usage` is what is left. Numbers, where all else has decimal strings."""
    granted, _ = await _granted_and_charged(connection, principal)
    limit = granted / NANO_PER_DOLLAR
    key = await store.get_key(connection, principal.key_id)
    return Subscription(
        soft_limit_usd=limit,
        hard_limit_usd=limit,
        system_hard_limit_usd=limit,
        access_until=0 if key.expires_at is None else int(key.expires_at.timestamp()),
    )


@router.get(
    "/v1/dashboard/billing/usage",
    summary="What was charged (for one-api style clients)",
    responses=REPORT_REFUSALS,
)
@router.get("/dashboard/billing/usage", include_in_schema=False)
async def get_billing_usage(
    principal: PrincipalDep, query: Annotated[BillingQuery, Query()], services: ServicesDep, reports: OwnReportsDep
) -> BillingUsage:
    """`total_usage` is of all time whatever the dates; `daily_costs` are of the dates, the last 100 days at most."""
    async with services.database.engine.begin() as connection:
        _, charged = await _granted_and_charged(connection, principal)
    daily: list[DailyCost] = []
    if query.start_date is not None:
        filter = _days(principal, query.start_date, query.end_date)
        async with reports.open(principal.key_id) as connection:
            daily = _write_days(await _sum_days(connection, filter))
    return BillingUsage(total_usage=charged / NANO_PER_CENT, daily_costs=daily)


async def _sum_days(connection: AsyncConnection, filter: Filter) -> Sequence[Mapping[str, Any]]:
    """By day and model; by day alone where that is too much."""
    rows = await sum_entries(connection, filter, (Group.DAY, Group.MODEL), limit=MAX_ITEMS + 1)
    if len(rows) <= MAX_ITEMS:
        return rows
    return await sum_entries(connection, filter, (Group.DAY,), limit=MAX_ITEMS)


async def _granted_and_charged(connection: AsyncConnection, principal: Principal) -> tuple[int, int]:
    """Nano-dollars: of the key if it has a quota, else of what it spends from."""
    key = (await wallets.key_wallets(connection, [principal.key_id]))[principal.key_id]
    if key.granted is not None:
        return key.granted, key.charged
    account = (await wallets.account_wallets(connection, [principal.account_id]))[principal.account_id]
    assert account.granted is not None
    return account.granted, account.charged


def _days(principal: Principal, start: date, end: date | None) -> Filter:
    """The last MAX_DAYS of the dates, the future left out: clients ask for up to next year, or the next century."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    end = min(end or tomorrow, tomorrow)
    start = max(start, end - timedelta(days=min(MAX_DAYS, (end - date.min).days)))
    return Filter(
        account_id=principal.account_id,
        key_id=principal.key_id,
        since=datetime.combine(start, time(), UTC),
        until=datetime.combine(end, time(), UTC),
    )


def _write_days(rows: Sequence[Mapping[str, Any]]) -> list[DailyCost]:
    days: dict[date, list[LineItem]] = {}
    for row in rows:
        item = LineItem(name=row.get("model", ALL_MODELS), cost=int(row["charged"]) / NANO_PER_CENT)
        days.setdefault(row["day"], []).append(item)
    return [
        DailyCost(timestamp=int(datetime.combine(day, time(), UTC).timestamp()), line_items=items)
        for day, items in days.items()
    ]
