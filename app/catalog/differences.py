"""Prices and costs that were taken from the default catalogue: where it says something else today, and how they follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.defaults import today
from app.catalog.price_rows import price_bodies, price_row
from app.catalog.pricelist import PriceList, find_ref
from app.catalog.prices import Price, write_price
from app.catalog.tiers import read_offer
from app.db.tables.catalog import channel_models, channels, models


@dataclass(frozen=True, slots=True)
class Difference:
    """A model's price, or with a channel the cost there. `after` None: the catalogue has no price any more, so it stays."""

    model: str
    channel_id: int | None
    channel: str | None
    ref: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def apply_list(connection: AsyncConnection, prices: PriceList, *, dry_run: bool) -> list[Difference]:
    """Everything that carries a ref and says something else than the list does today; changed unless `dry_run`.

    Prices and costs that operators set carry no ref, and are never touched. Sorted by model, prices before costs.
    """
    rows = [*await _priced_models(connection), *await _costed_models(connection)]
    bodies = await price_bodies(connection, [row["price_id"] for row in rows])
    offers = _offers(prices, {row["ref"] for row in rows})
    found: list[Difference] = []
    for row in sorted(rows, key=lambda row: (row["model"], row["channel_id"] or 0)):
        offer = offers[row["ref"]]
        before, after = bodies.get(row["price_id"]), None if offer is None else write_price(offer)
        if before == after:
            continue
        found.append(Difference(row["model"], row["channel_id"], row["channel"], row["ref"], before, after))
        if offer is not None and not dry_run:
            await _change(connection, row, offer)
    return found


def _offers(prices: PriceList, refs: set[str]) -> Mapping[str, Price | None]:
    found: dict[str, Price | None] = {}
    for ref in refs:
        entry = find_ref(prices, ref)
        found[ref] = None if entry is None else read_offer(entry.model, today()).price
    return found


async def _priced_models(connection: AsyncConnection) -> list[dict[str, Any]]:
    query = select(models.c.name, models.c.price_id, models.c.price_ref).where(models.c.price_ref.is_not(None))
    rows = await connection.execute(query.with_for_update())
    return [
        {"model": row.name, "channel_id": None, "channel": None, "ref": row.price_ref, "price_id": row.price_id}
        for row in rows
    ]


async def _costed_models(connection: AsyncConnection) -> list[dict[str, Any]]:
    table = channel_models.c
    query = (
        select(
            table.model,
            table.channel_id,
            channels.c.name.label("channel"),
            table.cost_ref.label("ref"),
            table.cost_id.label("price_id"),
        )
        .join(channels, channels.c.id == table.channel_id)
        .where(table.cost_ref.is_not(None))
        .with_for_update(of=channel_models)
    )
    return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _change(connection: AsyncConnection, row: Mapping[str, Any], price: Price) -> None:
    price_id = await price_row(connection, row["model"], price)
    if row["channel_id"] is None:
        await connection.execute(update(models).where(models.c.name == row["model"]).values(price_id=price_id))
        return
    table = channel_models.c
    there = and_(table.channel_id == row["channel_id"], table.model == row["model"])
    await connection.execute(update(channel_models).where(there).values(cost_id=price_id))
