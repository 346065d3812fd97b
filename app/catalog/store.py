"""Rows of channels, models and aliases: made, listed, changed, deleted. Processes reload when the database announces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.groups import hold_group
from app.catalog.price_rows import price_bodies, price_row
from app.catalog.pricelist import Origin
from app.catalog.prices import Price, read_price
from app.db.tables.catalog import aliases, channel_models, channels, model_groups, models, prices
from app.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that a channel serves, and what the upstream calls it.

    `price` is what clients pay here, None: the model's own. `cost` is what the operator pays, None: unknown; `cost_ref` is
    the entry of the default catalogue that it was taken from.
    """

    model: str
    upstream_model: str
    price: Price | None = None
    cost: Price | None = None
    cost_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """A channel that lists a model, as the model sees it; `price` and `cost` as bodies."""

    channel_id: int
    channel: str
    origin: Origin
    price: dict[str, Any] | None
    cost: dict[str, Any] | None
    cost_ref: str | None


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
    """A model as operators see it. `price_ref`: the entry of the default catalogue that its price was taken from."""

    name: str
    kind: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    task_timeout: int | None
    price: dict[str, Any] | None
    price_ref: str | None
    free: bool
    group: str | None
    group_ratio: Decimal
    aliases: list[str]
    options: dict[str, Any]
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


async def list_channels(
    connection: AsyncConnection, *, model: str | None = None, after: int = 0, limit: int = 100
) -> list[ChannelRow]:
    """In id order, with ids above `after`; those that list a model, unless None."""
    query = select(channels).where(channels.c.id > after).order_by(channels.c.id).limit(limit)
    if model is not None:
        listing = select(channel_models.c.channel_id).where(channel_models.c.model == model)
        query = query.where(channels.c.id.in_(listing))
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
    connection: AsyncConnection,
    name: str,
    values: Mapping[str, Any],
    price: Price | None,
    names: Sequence[str],
    price_ref: str | None = None,
) -> ModelRow:
    """Makes a model or replaces it whole; a changed price becomes a new row, the old one stays for its entries.

    `values` are columns. Raises GatewayError: 409 when the name, or one of the aliases, is taken, 422 for an unknown group.
    """
    alias_of = (await connection.execute(select(aliases.c.model).where(aliases.c.alias == name))).scalar()
    if alias_of is not None:
        raise GatewayError(Kind.CONFLICT, "name_taken", f"'{name}' is an alias of '{alias_of}'.", param="name")
    columns = {"model_group": None, **values, "price_ref": price_ref}
    await hold_group(connection, columns["model_group"])
    columns["price_id"] = await price_row(connection, name, price)
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
    """Changes what is given; a price is the operator's own from then on. Raises GatewayError 404, 409, 422."""
    await get_model(connection, name)
    columns = dict(values)
    await hold_group(connection, columns.get("model_group"))
    if change_price:
        columns |= {"price_id": await price_row(connection, name, price), "price_ref": None}
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


async def serving_channels(connection: AsyncConnection, names: Sequence[str]) -> Mapping[str, list[Serving]]:
    """The channels that list each of these models by name, disabled ones included."""
    column = channel_models.c
    query = (
        select(channel_models, channels.c.name, channels.c.provider, channels.c.base_url)
        .join(channels, channels.c.id == column.channel_id)
        .where(column.model.in_(names))
        .order_by(channels.c.name)
    )
    rows = (await connection.execute(query)).mappings().all()
    bodies = await price_bodies(connection, [id for row in rows for id in (row["price_id"], row["cost_id"])])
    serving: dict[str, list[Serving]] = {}
    for row in rows:
        origin = Origin(row["provider"], row["base_url"], row["upstream_model"])
        item = Serving(
            row["channel_id"],
            row["name"],
            origin,
            bodies.get(row["price_id"]),
            bodies.get(row["cost_id"]),
            row["cost_ref"],
        )
        serving.setdefault(row["model"], []).append(item)
    return serving


async def origins_of(connection: AsyncConnection, model: str) -> list[Origin]:
    """Where a model is bought: its channels, those that are tried first in front."""
    query = (
        select(channels.c.provider, channels.c.base_url, channel_models.c.upstream_model)
        .join(channels, channels.c.id == channel_models.c.channel_id)
        .where(channel_models.c.model == model)
        .order_by(channels.c.enabled.desc(), channels.c.priority.desc(), channels.c.id)
    )
    return [Origin(*row) for row in await connection.execute(query)]


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
    joined = models.outerjoin(prices, prices.c.id == models.c.price_id).outerjoin(
        model_groups, model_groups.c.name == models.c.model_group
    )
    return select(models, prices.c.body, model_groups.c.ratio).select_from(joined)


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
            task_timeout=row["task_timeout"],
            price=None if row["body"] is None else dict(row["body"]),
            price_ref=row["price_ref"],
            free=row["free"],
            group=row["model_group"],
            group_ratio=Decimal(1) if row["ratio"] is None else row["ratio"],
            aliases=named.get(row["name"], []),
            options=row["options"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def _read_channels(connection: AsyncConnection, query: Any) -> list[ChannelRow]:
    rows = (await connection.execute(query)).mappings().all()
    served: dict[int, list[ServedModel]] = {}
    wanted = channel_models.c.channel_id.in_([row["id"] for row in rows])
    found = select(channel_models).where(wanted).order_by(channel_models.c.model)
    items = (await connection.execute(found)).mappings().all()
    bodies = await price_bodies(connection, [id for item in items for id in (item["price_id"], item["cost_id"])])
    for item in items:
        price, cost = bodies.get(item["price_id"]), bodies.get(item["cost_id"])
        one = ServedModel(
            item["model"],
            item["upstream_model"],
            None if price is None else read_price(price),
            None if cost is None else read_price(cost),
            item["cost_ref"],
        )
        served.setdefault(item["channel_id"], []).append(one)
    return [ChannelRow(**row, models=tuple(served.get(row["id"], ()))) for row in rows]


async def _replace_served(connection: AsyncConnection, channel_id: int, served: Sequence[ServedModel]) -> None:
    await connection.execute(delete(channel_models).where(channel_models.c.channel_id == channel_id))
    if served:
        rows = [
            {
                "channel_id": channel_id,
                "model": item.model,
                "upstream_model": item.upstream_model,
                "price_id": await price_row(connection, item.model, item.price),
                "cost_id": await price_row(connection, item.model, item.cost),
                "cost_ref": item.cost_ref,
            }
            for item in served
        ]
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


def _name_taken(name: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, "name_taken", f"There is a channel named '{name}' already.", param="name")
