"""`/admin/v1/models`: what may be called, under which names, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.admin.guard import CONFLICT, NOT_FOUND, ActorDep, admin_router
from app.api.admin.model_options import ModelOptions, check_aliases, check_fallbacks
from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.price_fields import PriceField, PriceOut
from app.api.admin.record import record
from app.api.admin.shapes import (
    MAX_ITEMS,
    Count,
    Flag,
    Name,
    Pattern,
    Shape,
    Text,
    absent,
    refuse,
    refused,
    write_ratio,
)
from app.api.context import ConnectionDep, ServicesDep
from app.catalog import store
from app.catalog.defaults import DefaultPrices, today
from app.catalog.pricelist import find_model
from app.catalog.prices import Price
from app.catalog.store import ModelRow, Serving
from app.catalog.tiers import read_offer

router = admin_router("/models", "models", "catalog")

PRICED_OR_FREE = "a model is either priced or free"


def _check_aliases(value: object) -> object:
    if isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) < len(value):
        refuse("an alias stands twice")
    return value


Aliases = Annotated[list[Pattern], Field(max_length=MAX_ITEMS), BeforeValidator(_check_aliases)]
Kind = Literal["chat", "image", "video", "audio", "completion", "embedding", "moderation", "rerank", "realtime"]
TaskTimeout = Annotated[int, Field(strict=True, ge=10, le=86_400)]
PathName = Annotated[
    Pattern,
    Path(description="Slashes belong to the name: `org/model`. A `*` stands for any text: `gpt-*`"),
]


class ModelDefinition(Shape):
    """A model, whole."""

    kind: Kind = Field(
        description="What it is called for. image, video and audio are made by tasks too: `/v2/{scope}/generations`"
    )
    description: Text | None = None
    context_window: Count | None = None
    max_output_tokens: Count | None = Field(None, description="What is held for where a request names no cap")
    task_timeout: TaskTimeout | None = Field(
        None, description="Seconds after which a task has failed; null: 3600 for videos, 900 for images and audio"
    )
    aliases: Aliases = Field(default_factory=list, description="Other names that clients may use")
    group: Name | None = Field(None, description="The model group whose ratio multiplies the price")
    price: PriceField = Field(
        None,
        description="Absent: what the price catalogue says, if it knows the model. null: not priced, so not served",
    )
    free: Flag = Field(False, description="Served without charge; then there is no price")
    options: ModelOptions = Field(default_factory=ModelOptions)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "chat",
                    "description": "Small and quick.",
                    "context_window": 128000,
                    "max_output_tokens": 16384,
                    "aliases": ["small"],
                    "price": {"input_mtok": "0.15", "cache_read_mtok": "0.075", "output_mtok": "0.6"},
                }
            ]
        }
    )

    @field_validator("free")
    @classmethod
    def _check_free(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("price") is not None:
            refuse(f"{PRICED_OR_FREE}; this names a price too")
        return value

    @property
    def wants_default_price(self) -> bool:
        """Whether the price catalogue is to be asked: nobody said that the model has none."""
        return "price" not in self.model_fields_set and not self.free


class ModelChanges(Shape):
    """What is given is changed; `options` is replaced whole. `price: null` takes the price away: then the model isn't served
    unless it is free.
    """

    kind: Kind = absent()
    description: Text | None = absent()
    context_window: Count | None = absent()
    max_output_tokens: Count | None = absent()
    task_timeout: TaskTimeout | None = absent()
    aliases: Aliases = absent()
    group: Name | None = absent()
    price: PriceField = absent()
    free: Flag = absent()
    options: ModelOptions = absent()

    model_config = ConfigDict(json_schema_extra={"examples": [{"price": {"input_mtok": "0.1", "output_mtok": "0.4"}}]})


class ChannelPriceOut(Shape):
    """A channel that has a price of its own for the model, or whose cost is known."""

    channel: str
    upstream_model: str
    price: PriceOut | None = Field(description="What clients pay when this channel answers; null: the model's price")
    cost: PriceOut | None = Field(description="What the vendor takes; null: unknown")
    cost_ref: str | None = Field(description="The entry of the price catalogue that the cost was taken from")


class ModelBody(Shape):
    """A model with its price, its other names and the channels that serve it."""

    name: str
    kind: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    task_timeout: int | None
    aliases: list[str]
    price: PriceOut | None
    price_ref: str | None = Field(description="The entry of the price catalogue that the price was taken from")
    free: bool
    group: str | None
    group_ratio: str = Field(description="What the group multiplies the price by; 1 without a group")
    channels: list[str] = Field(description="Names of the channels that list this model")
    channel_prices: list[ChannelPriceOut]
    options: ModelOptions
    created_at: datetime

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "gpt-small",
                    "kind": "chat",
                    "description": "Small and quick.",
                    "context_window": 128000,
                    "max_output_tokens": 16384,
                    "task_timeout": None,
                    "aliases": ["small"],
                    "price": {"input_mtok": "0.15", "output_mtok": "0.6", "cache_read_mtok": "0.075"},
                    "price_ref": None,
                    "free": False,
                    "group": None,
                    "group_ratio": "1",
                    "channels": ["openai-main"],
                    "channel_prices": [],
                    "options": {"fallbacks": ["gpt-tiny"], "first_byte_timeout": 60},
                    "created_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )


@router.get("", summary="List models")
async def list_models(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[ModelBody]:
    """By name, those included that no channel serves."""
    after = read_name_cursor(query.cursor) or ""
    found = await store.list_models(connection, after=after, limit=query.limit + 1)
    serving = await store.serving_channels(connection, [model.name for model in found])
    return page_of(found, query.limit, lambda model: _write(model, serving), lambda model: model.name)


@router.put("/{name:path}", summary="Create or replace a model", responses={201: {"model": ModelBody}, **CONFLICT})
async def put_model(
    name: PathName,
    body: ModelDefinition,
    response: Response,
    services: ServicesDep,
    connection: ConnectionDep,
    actor: ActorDep,
) -> ModelBody:
    """Answers 201 for a new model, 200 for one that was replaced whole. A changed price counts from the next request on;
    entries keep the one that was applied to them. Without `price` the price catalogue's is taken, where it knows the model
    (`price_ref` then names the entry).
    """
    before = await find_shown(connection, name)
    response.status_code = 201 if before is None else 200
    after = await show_model(connection, await define_model(connection, services.catalog.defaults, name, body))
    await record(connection, actor, f"models.{'create' if before is None else 'replace'}", name, before, after)
    return after


@router.patch("/{name:path}", summary="Change a model", responses={**NOT_FOUND, **CONFLICT})
async def change_model(name: PathName, body: ModelChanges, connection: ConnectionDep, actor: ActorDep) -> ModelBody:
    """Changes the fields that are given."""
    model = await store.get_model(connection, name)
    before = await show_model(connection, model)
    given = body.model_fields_set
    free = body.free if "free" in given else model.free
    priced = body.price is not None if "price" in given else model.price is not None
    if free and priced:
        field, remedy = ("price", "free: false") if "price" in given else ("free", "price: null")
        raise refused(field, f"{PRICED_OR_FREE}; give {remedy} too")
    if "options" in given:
        await check_fallbacks(connection, name, body.options.fallbacks)
    if "aliases" in given:
        check_aliases(name, body.aliases)
    model = await store.update_model(
        connection,
        name,
        _columns(body, body.model_dump(exclude_unset=True, exclude={"price", "aliases"})),
        price=body.price,
        change_price="price" in given,
        names=body.aliases if "aliases" in given else None,
    )
    after = await show_model(connection, model)
    await record(connection, actor, "models.update", name, before, after)
    return after


@router.delete("/{name:path}", status_code=204, summary="Delete a model", responses=NOT_FOUND)
async def delete_model(name: PathName, connection: ConnectionDep, actor: ActorDep) -> None:
    """Its aliases go with it; its entries and their prices stay."""
    before = await show_model(connection, await store.get_model(connection, name))
    await store.delete_model(connection, name)
    await record(connection, actor, "models.delete", name, before)


async def find_shown(connection: AsyncConnection, name: str) -> ModelBody | None:
    """The model as it is shown, if there is one."""
    if not await store.has_model(connection, name):
        return None
    return await show_model(connection, await store.get_model(connection, name))


async def show_model(connection: AsyncConnection, model: ModelRow) -> ModelBody:
    """With the channels that serve it."""
    return _write(model, await store.serving_channels(connection, [model.name]))


async def define_model(
    connection: AsyncConnection, defaults: DefaultPrices, name: str, body: ModelDefinition
) -> ModelRow:
    """Makes or replaces a model, priced out of the catalogue where nothing was said. Raises GatewayError 409, 422."""
    price, ref = body.price, None
    if body.wants_default_price:
        price, ref = await _default_price(connection, defaults, name)
    await check_fallbacks(connection, name, body.options.fallbacks)
    check_aliases(name, body.aliases)
    values = _columns(body, body.model_dump(exclude={"price", "aliases"}))
    return await store.put_model(connection, name, values, price, body.aliases, ref)


async def _default_price(
    connection: AsyncConnection, defaults: DefaultPrices, name: str
) -> tuple[Price | None, str | None]:
    """The catalogue's price of what the model's channels serve, else of a model of this name, and the entry's ref."""
    catalogue = await defaults.load(connection)
    entry = find_model(catalogue.prices, name, await store.origins_of(connection, name))
    price = None if entry is None else read_offer(entry.model, today()).price
    return price, None if entry is None or price is None else entry.ref


def _columns(body: ModelDefinition | ModelChanges, values: dict[str, Any]) -> dict[str, Any]:
    columns = {"model_group" if name == "group" else name: value for name, value in values.items()}
    return columns | ({"options": body.options.column()} if "options" in columns else {})


def _write(model: ModelRow, serving: Mapping[str, list[Serving]]) -> ModelBody:
    channels = serving.get(model.name, [])
    return ModelBody(
        name=model.name,
        kind=model.kind,
        description=model.description,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        task_timeout=model.task_timeout,
        aliases=model.aliases,
        price=model.price,
        price_ref=model.price_ref,
        free=model.free,
        group=model.group,
        group_ratio=write_ratio(model.group_ratio),
        channels=[item.channel for item in channels],
        channel_prices=[_write_serving(item) for item in channels if item.price is not None or item.cost is not None],
        options=ModelOptions.model_validate(model.options),
        created_at=model.created_at,
    )


def _write_serving(item: Serving) -> ChannelPriceOut:
    return ChannelPriceOut(
        channel=item.channel,
        upstream_model=item.origin.model,
        price=item.price,
        cost=item.cost,
        cost_ref=item.cost_ref,
    )
