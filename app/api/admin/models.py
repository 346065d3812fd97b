"""`/admin/v1/models`: what may be called, under which names, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.api.admin.guard import CONFLICT, NOT_FOUND, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.shapes import (
    AMOUNT_SCHEMA,
    MAX_ITEMS,
    Count,
    Dollars,
    Flag,
    Name,
    Shape,
    Text,
    absent,
    read_decimal,
    refuse,
    refused,
)
from app.api.context import ConnectionDep
from app.catalog import store
from app.catalog.prices import Price, read_price, write_price
from app.catalog.store import ModelRow

router = admin_router("/models", "models")

PRICED_OR_FREE = "a model is either priced or free"


def _read_price(value: object) -> Price | None:
    """Every amount is tried on its own, so that an answer names each one at fault."""
    if value is None:
        return None
    if not isinstance(value, dict):
        refuse('must be an object of amounts, such as {"input_mtok": "0.15", "output_mtok": "0.6"}')
    faults = []
    for name, amount in value.items():
        try:
            read_price({name: read_decimal(amount)})
        except ValueError as error:
            fault = PydanticCustomError("price", "{reason}", {"reason": str(error).removeprefix(f"{name}: ")})
            faults.append(InitErrorDetails(type=fault, loc=(str(name)[:100],), input=None))
    if faults:
        raise ValidationError.from_exception_data("price", faults)
    if not value:
        refuse("must name at least one amount; for a model without charge set free")
    return read_price(value)


PriceField = Annotated[
    Any,
    BeforeValidator(_read_price),
    WithJsonSchema(
        {
            "description": "Amounts in dollars: per million tokens (`*_mtok`), and per call. null: not priced, so not served",
            "anyOf": [
                {
                    "type": "object",
                    "properties": {field.name: AMOUNT_SCHEMA for field in fields(Price)},
                    "additionalProperties": False,
                    "minProperties": 1,
                },
                {"type": "null"},
            ],
        }
    ),
]


def _check_aliases(value: object) -> object:
    if isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) < len(value):
        refuse("an alias stands twice")
    return value


Aliases = Annotated[list[Name], Field(max_length=MAX_ITEMS), BeforeValidator(_check_aliases)]
Kind = Literal["chat"]
PathName = Annotated[Name, Path(description="Slashes belong to the name: `org/model`")]


class ModelDefinition(Shape):
    """A model, whole."""

    kind: Kind
    description: Text | None = None
    context_window: Count | None = None
    max_output_tokens: Count | None = Field(None, description="What is held for where a request names no cap")
    aliases: Aliases = Field(default_factory=list, description="Other names that clients may use")
    price: PriceField = None
    free: Flag = Field(False, description="Served without charge; then there is no price")

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


class ModelChanges(Shape):
    """What is given is changed. `price: null` takes the price away: then the model isn't served unless it is free."""

    kind: Kind = absent()
    description: Text | None = absent()
    context_window: Count | None = absent()
    max_output_tokens: Count | None = absent()
    aliases: Aliases = absent()
    price: PriceField = absent()
    free: Flag = absent()

    model_config = ConfigDict(json_schema_extra={"examples": [{"price": {"input_mtok": "0.1", "output_mtok": "0.4"}}]})


class ModelBody(Shape):
    """A model with its price, its other names and the channels that serve it."""

    name: str
    kind: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    aliases: list[str]
    price: dict[str, Dollars] | None
    free: bool
    channels: list[str] = Field(description="Names of the channels that list this model")
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
                    "aliases": ["small"],
                    "price": {"input_mtok": "0.15", "cache_read_mtok": "0.075", "output_mtok": "0.6", "per_call": "0"},
                    "free": False,
                    "channels": ["openai-main"],
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
async def put_model(name: PathName, body: ModelDefinition, response: Response, connection: ConnectionDep) -> ModelBody:
    """Answers 201 for a new model, 200 for one that was replaced whole. A changed price counts from the next request on;
    entries keep the one that was applied to them.
    """
    response.status_code = 200 if await store.has_model(connection, name) else 201
    values = body.model_dump(exclude={"price", "aliases"})
    model = await store.put_model(connection, name, values, body.price, body.aliases)
    return _write(model, await store.serving_channels(connection, [name]))


@router.patch("/{name:path}", summary="Change a model", responses={**NOT_FOUND, **CONFLICT})
async def change_model(name: PathName, body: ModelChanges, connection: ConnectionDep) -> ModelBody:
    """Changes the fields that are given."""
    model = await store.get_model(connection, name)
    given = body.model_fields_set
    free = body.free if "free" in given else model.free
    priced = body.price is not None if "price" in given else model.price is not None
    if free and priced:
        field, remedy = ("price", "free: false") if "price" in given else ("free", "price: null")
        raise refused(field, f"{PRICED_OR_FREE}; give {remedy} too")
    model = await store.update_model(
        connection,
        name,
        body.model_dump(exclude_unset=True, exclude={"price", "aliases"}),
        price=body.price,
        change_price="price" in given,
        names=body.aliases if "aliases" in given else None,
    )
    return _write(model, await store.serving_channels(connection, [name]))


@router.delete("/{name:path}", status_code=204, summary="Delete a model", responses=NOT_FOUND)
async def delete_model(name: PathName, connection: ConnectionDep) -> None:
    """Its aliases go with it; its entries and their prices stay."""
    await store.delete_model(connection, name)


def _write(model: ModelRow, serving: Mapping[str, list[str]]) -> ModelBody:
    return ModelBody(
        name=model.name,
        kind=model.kind,
        description=model.description,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        aliases=model.aliases,
        price=None if model.price is None else write_price(read_price(model.price)),
        free=model.free,
        channels=serving.get(model.name, []),
        created_at=model.created_at,
    )
