"""Rows of channels, models and aliases: made, listed, changed, deleted. Processes reload when the database announces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.prices import Price, read_price, write_price
from app.db.tables.catalog import aliases, channel_models, channels, models, prices
from app.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a channel serves, and what the upstream calls it."""

    model: str
    upstream_model: str


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel as operators see it; `secret` is still encrypted and never shown."""

    id: int
    name: str
    provider: str
    base_url: str
    secret: bytes
    priority: int
    weight: int
    enabled: bool
    options: dict[str, Any]
    created_at: datetime
    models: tuple[ServedModel, ...]


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as operators see it."""

    name: str
    kind: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    price: dict[str, Any] | None
    free: bool
    aliases: list[str]
    created_at: datetime


async def create_channel(
    connection: AsyncConnection, values: Mapping[str, Any], served: Sequence[ServedModel]
) -> ChannelRow:
    """`values` are columns, the secret encrypted. Raises GatewayError 409 for a name that is taken."""
    try:
        query = insert(channels).values(**values).returning(channels.c.id)
        channel_id = (await connection.execute(query)).scalar_one()
    except IntegrityError as error:
        raise _name_taken(values["name"]) from error
    await _replace_served(connection, channel_id, served)
    return await get_channel(connection, channel_id)


async def get_channel(connection: AsyncConnection, channel_id: int) -> ChannelRow:
    """Raises GatewayError 404."""
    rows = await _read_channels(connection, select(channels).where(channels.c.id == channel_id))
    if not rows:
        raise GatewayError(Kind.NOT_FOUND, "channel_not_found", f"There is no channel {channel_id}.")
    return rows[0]


async def find_channel(connection: AsyncConnection, name: str) -> ChannelRow | None:
    rows = await _read_channels(connection, select(channels).where(channels.c.name == name))
    return rows[0] if rows else None


async def list_channels(connection: AsyncConnection, *, after: int = 0, limit: int = 100) -> list[ChannelRow]:
    """In id order, with ids above `after`."""
    query = select(channels).where(channels.c.id > after).order_by(channels.c.id).limit(limit)
    return await _read_channels(connection, query)


async def update_channel(
    connection: AsyncConnection, channel_id: int, values: Mapping[str, Any], served: Sequence[ServedModel] | None
) -> ChannelRow:
    """Changes what is in `values`, and the served models unless None. Raises GatewayError 404, 409."""
    if values:
        try:
            await connection.execute(update(channels).where(channels.c.id == channel_id).values(**values))
        except IntegrityError as error:
            raise _name_taken(str(values.get("name"))) from error
    await get_channel(connection, channel_id)
    if served is not None:
        await _replace_served(connection, channel_id, served)
    return await get_channel(connection, channel_id)


async def delete_channel(connection: AsyncConnection, channel_id: int) -> None:
    """Entries keep its id. Raises GatewayError 404."""
    if not (await connection.execute(delete(channels).where(channels.c.id == channel_id))).rowcount:
        raise GatewayError(Kind.NOT_FOUND, "channel_not_found", f"There is no channel {channel_id}.")


async def put_model(
    connection: AsyncConnection, name: str, values: Mapping[str, Any], price: Price | None, names: Sequence[str]
) -> ModelRow:
    """Makes a model or replaces it whole; a changed price becomes a new row, the old one stays for its entries.

    Raises GatewayError 409 when the name, or one of the aliases, is taken.
    """
    alias_of = (await connection.execute(select(aliases.c.model).where(aliases.c.alias == name))).scalar()
    if alias_of is not None:
        raise GatewayError(Kind.CONFLICT, "name_taken", f"'{name}' is an alias of '{alias_of}'.", param="name")
    columns = {**values, "price_id": await _price_id(connection, name, price)}
    statement = upsert(models).values(name=name, **columns)
    await connection.execute(statement.on_conflict_do_update(index_elements=[models.c.name], set_=columns))
    await _replace_aliases(connection, name, names)
    return await get_model(connection, name)


async def update_model(
    connection: AsyncConnection,
    name: str,
    values: Mapping[str, Any],
    *,
    price: Price | None = None,
    change_price: bool = False,
    names: Sequence[str] | None = None,
) -> ModelRow:
    """Changes what is given. Raises GatewayError 404, 409."""
    await get_model(connection, name)
    columns = dict(values)
    if change_price:
        columns["price_id"] = await _price_id(connection, name, price)
    if columns:
        await connection.execute(update(models).where(models.c.name == name).values(**columns))
    if names is not None:
        await _replace_aliases(connection, name, names)
    return await get_model(connection, name)


async def get_model(connection: AsyncConnection, name: str) -> ModelRow:
    """Raises GatewayError 404."""
    rows = await _read_models(connection, _model_query().where(models.c.name == name))
    if not rows:
        raise GatewayError(Kind.NOT_FOUND, "model_not_found", f"There is no model '{name[:200]}'.")
    return rows[0]


async def has_model(connection: AsyncConnection, name: str) -> bool:
    return (await connection.execute(select(models.c.name).where(models.c.name == name))).first() is not None


async def serving_channels(connection: AsyncConnection, names: Sequence[str]) -> Mapping[str, list[str]]:
    """Names of the channels that list each of these models, disabled ones included."""
    query = (
        select(channel_models.c.model, channels.c.name)
        .join(channels, channels.c.id == channel_models.c.channel_id)
        .where(channel_models.c.model.in_(names))
        .order_by(channels.c.name)
    )
    serving: dict[str, list[str]] = {}
    for model, channel in await connection.execute(query):
        serving.setdefault(model, []).append(channel)
    return serving


async def list_models(connection: AsyncConnection, *, after: str = "", limit: int = 100) -> list[ModelRow]:
    """By name, with names above `after`."""
    return await _read_models(
        connection, _model_query().where(models.c.name > after).order_by(models.c.name).limit(limit)
    )


async def delete_model(connection: AsyncConnection, name: str) -> None:
    """Its aliases go along; its prices and entries stay. Raises GatewayError 404."""
    if not (await connection.execute(delete(models).where(models.c.name == name))).rowcount:
        raise GatewayError(Kind.NOT_FOUND, "model_not_found", f"There is no model '{name[:200]}'.")


def _model_query() -> Any:
    return select(models, prices.c.body).outerjoin(prices, prices.c.id == models.c.price_id)


async def _read_models(connection: AsyncConnection, query: Any) -> list[ModelRow]:
    rows = (await connection.execute(query)).mappings().all()
    named: dict[str, list[str]] = {}
    found = select(aliases).where(aliases.c.model.in_([row["name"] for row in rows])).order_by(aliases.c.alias)
    for alias in (await connection.execute(found)).mappings():
        named.setdefault(alias["model"], []).append(alias["alias"])
    return [
        ModelRow(
            name=row["name"],
            kind=row["kind"],
            description=row["description"],
            context_window=row["context_window"],
            max_output_tokens=row["max_output_tokens"],
            price=None if row["body"] is None else dict(row["body"]),
            free=row["free"],
            aliases=named.get(row["name"], []),
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def _read_channels(connection: AsyncConnection, query: Any) -> list[ChannelRow]:
    rows = (await connection.execute(query)).mappings().all()
    served: dict[int, list[ServedModel]] = {}
    wanted = channel_models.c.channel_id.in_([row["id"] for row in rows])
    found = select(channel_models).where(wanted).order_by(channel_models.c.model)
    for item in (await connection.execute(found)).mappings():
        served.setdefault(item["channel_id"], []).append(ServedModel(item["model"], item["upstream_model"]))
    return [ChannelRow(**row, models=tuple(served.get(row["id"], ()))) for row in rows]


async def _replace_served(connection: AsyncConnection, channel_id: int, served: Sequence[ServedModel]) -> None:
    await connection.execute(delete(channel_models).where(channel_models.c.channel_id == channel_id))
    if served:
        rows = [{"channel_id": channel_id, "model": s.model, "upstream_model": s.upstream_model} for s in served]
        await connection.execute(insert(channel_models), rows)


async def _replace_aliases(connection: AsyncConnection, model: str, names: Sequence[str]) -> None:
    await connection.execute(delete(aliases).where(aliases.c.model == model))
    if not names:
        return
    taken = select(models.c.name).where(models.c.name.in_(names))
    clash = (await connection.execute(taken)).scalars().first()
    if clash is not None:
        raise GatewayError(Kind.CONFLICT, "alias_taken", f"'{clash}' is a model itself.", param="aliases")
    try:
        await connection.execute(insert(aliases), [{"alias": name, "model": model} for name in names])
    except IntegrityError as error:
        raise GatewayError(
            Kind.CONFLICT, "alias_taken", "An alias belongs to another model, or stands twice.", param="aliases"
        ) from error


async def _price_id(connection: AsyncConnection, model: str, price: Price | None) -> int | None:
    """The row of this price: the newest one of the model if it says the same, else a new one."""
    if price is None:
        return None
    query = select(prices).where(prices.c.model == model).order_by(prices.c.id.desc()).limit(1)
    newest = (await connection.execute(query)).mappings().one_or_none()
    if newest is not None and read_price(newest["body"]) == price:
        return int(newest["id"])
    made = insert(prices).values(model=model, body=write_price(price)).returning(prices.c.id)
    return int((await connection.execute(made)).scalar_one())


def _name_taken(name: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, "name_taken", f"There is a channel named '{name}' already.", param="name")
