"""Rows of model groups: what their models cost, as a multiple of their prices."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.catalog import model_groups, models
from app.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group, and how many models are in it."""

    name: str
    ratio: Decimal
    models: int


async def list_groups(connection: AsyncConnection, *, after: str = "", limit: int = 100) -> list[GroupRow]:
    """By name, with names above `after`."""
    query = _groups().where(model_groups.c.name > after).order_by(model_groups.c.name).limit(limit)
    return [GroupRow(*row) for row in await connection.execute(query)]


async def get_group(connection: AsyncConnection, name: str) -> GroupRow:
    """Raises GatewayError 404."""
    group = await find_group(connection, name)
    if group is None:
        raise _no_group(name)
    return group


async def find_group(connection: AsyncConnection, name: str) -> GroupRow | None:
    """The group of that name, if there is one."""
    row = (await connection.execute(_groups().where(model_groups.c.name == name))).one_or_none()
    return None if row is None else GroupRow(*row)


async def put_group(connection: AsyncConnection, name: str, ratio: Decimal) -> tuple[GroupRow, bool]:
    """Makes a group or changes its ratio; True if it was made."""
    made = upsert(model_groups).values(name=name, ratio=ratio).on_conflict_do_nothing().returning(model_groups.c.name)
    is_new = (await connection.execute(made)).first() is not None
    if not is_new:
        change = model_groups.update().where(model_groups.c.name == name).values(ratio=ratio)
        await connection.execute(change)
    return await get_group(connection, name), is_new


async def delete_group(connection: AsyncConnection, name: str) -> None:
    """Raises GatewayError: 404, 409 while a model is in it."""
    try:
        async with connection.begin_nested():
            gone = await connection.execute(delete(model_groups).where(model_groups.c.name == name))
    except IntegrityError as error:
        message = f"Models are in the group '{name[:200]}': take them out first."
        raise GatewayError(Kind.CONFLICT, "group_in_use", message, param="name") from error
    if not gone.rowcount:
        raise _no_group(name)


async def hold_group(connection: AsyncConnection, name: str | None) -> None:
    """Makes sure that a group is there, and stays while the transaction lasts. Raises GatewayError 422."""
    if name is None:
        return
    query = select(model_groups.c.name).where(model_groups.c.name == name).with_for_update(read=True, key_share=True)
    if (await connection.execute(query)).first() is None:
        message = "group: there is no such group; PUT /admin/v1/model-groups/{name} makes one"
        raise GatewayError(Kind.INVALID, "validation_error", message, param="group", status=422)


def _groups() -> Any:
    inside = select(func.count()).where(models.c.model_group == model_groups.c.name).scalar_subquery()
    return select(model_groups.c.name, model_groups.c.ratio, inside)


def _no_group(name: str) -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "group_not_found", f"There is no model group '{name[:200]}'.")
