"""Rows of prices: written once, never changed, shared by what says the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.prices import FREE, Price, read_price, write_price
from app.db.tables.catalog import prices


async def price_row(connection: AsyncConnection, model: str, price: Price | None) -> int | None:
    """The id of the model's row of this price, made if there is none; None for no price."""
    if price is None:
        return None
    body = write_price(price)
    same = (
        select(prices.c.id).where(prices.c.model == model, prices.c.body == body).order_by(prices.c.id.desc()).limit(1)
    )
    found = (await connection.execute(same)).scalar()
    if found is None:
        made = insert(prices).values(model=model, body=body).returning(prices.c.id)
        found = (await connection.execute(made)).scalar_one()
    return int(found)


async def price_bodies(connection: AsyncConnection, ids: Collection[int | None]) -> Mapping[int | None, dict[str, Any]]:
    """The bodies of these rows, by id."""
    wanted = sorted({id for id in ids if id is not None})
    if not wanted:
        return {}
    query = select(prices.c.id, prices.c.body).where(prices.c.id.in_(wanted))
    return {id: dict(body) for id, body in await connection.execute(query)}


async def load_price(connection: AsyncConnection, price_id: int | None) -> Price:
    """The price of a row, which is never changed or deleted; None: what costs nothing."""
    if price_id is None:
        return FREE
    return read_price((await price_bodies(connection, [price_id]))[price_id])
