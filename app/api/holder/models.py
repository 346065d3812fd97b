"""`GET /v1/account/models`: what the caller's key may call, and what it costs this account."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.accounts.principals import Principal
from app.api.admin.shapes import ErrorBody, Shape, write_ratio
from app.api.caller import PrincipalDep, find_model, may_call, no_such_model
from app.api.context import ConnectionDep, ServicesDep
from app.api.holder.shapes import REFUSALS, HolderQuery
from app.catalog import store
from app.catalog.prices import PPM, write_price
from app.catalog.snapshot import Model
from app.catalog.store import ModelRow

router = APIRouter(tags=["account"], responses=REFUSALS)

MAX_MODELS = 10_000


class OwnModel(Shape):
    """A model under a name that the key may use. What is charged is its price times both ratios."""

    name: str
    alias_of: str | None = Field(description="The model that this name stands for; null: it is the model's own")
    kind: str
    description: str | None
    context_window: int | None
    max_output_tokens: int | None
    free: bool
    price: dict[str, Any] | None = Field(description="Dollars; what each name means is in the docs; null if free")
    price_varies: bool = Field(description="It depends on who answers; `price` is then what it costs at most")
    price_ratio: str = Field(description="This account's")
    group_ratio: str = Field(description="The model group's")
    created_at: datetime

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "gpt-small",
                    "alias_of": None,
                    "kind": "chat",
                    "description": "Quick and cheap.",
                    "context_window": 128000,
                    "max_output_tokens": 16384,
                    "free": False,
                    "price": {"input_mtok": "0.15", "output_mtok": "0.6"},
                    "price_varies": False,
                    "price_ratio": "0.9",
                    "group_ratio": "1",
                    "created_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )


class OwnModels(Shape):
    """All of them, by name."""

    data: list[OwnModel]


@router.get("/v1/account/models", summary="Models and their prices")
async def list_own_models(
    principal: PrincipalDep,
    query: Annotated[HolderQuery, Query()],
    services: ServicesDep,
    connection: ConnectionDep,
) -> OwnModels:
    """The models that this key may call and that can be called now, aliases included, by name."""
    rows = {row.name: row for row in await store.list_models(connection, limit=MAX_MODELS)}
    models = services.catalog.snapshot.models
    names = [name for name, model in sorted(models.items()) if model.name in rows and may_call(principal, name, model)]
    return OwnModels(data=[_write(principal, name, models[name], rows[models[name].name]) for name in names])


@router.get(
    "/v1/account/models/{name:path}",
    summary="One model and its price",
    responses={404: {"model": ErrorBody, "description": "There is no such model, or the key may not call it."}},
)
async def get_own_model(
    principal: PrincipalDep,
    name: str,
    query: Annotated[HolderQuery, Query()],
    services: ServicesDep,
    connection: ConnectionDep,
) -> OwnModel:
    """One of them; 404 for a model that doesn't exist as for one that this key may not call."""
    model = await find_model(services, name)
    if model is None or not may_call(principal, name, model):
        raise no_such_model(name)
    return _write(principal, name, model, await store.get_model(connection, model.pattern or model.name))


def _write(principal: Principal, name: str, model: Model, row: ModelRow) -> OwnModel:
    return OwnModel(
        name=name,
        alias_of=None if name == model.name else model.name,
        kind=row.kind,
        description=row.description,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        free=row.free,
        price=None if row.free or model.dearest is None else write_price(model.dearest),
        price_varies=len({candidate.price for candidate in model.candidates}) > 1,
        price_ratio=write_ratio(Decimal(principal.ratio_ppm) / PPM),
        group_ratio=write_ratio(Decimal(model.group_ppm) / PPM),
        created_at=row.created_at,
    )
