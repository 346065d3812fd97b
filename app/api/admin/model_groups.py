"""`/admin/v1/model-groups`: what the models of a group cost, as a multiple of their prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import ConfigDict

from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.record import record
from app.api.admin.shapes import ErrorBody, Name, Ratio, Shape, write_ratio
from app.api.context import ConnectionDep
from app.catalog import groups
from app.catalog.groups import GroupRow

router = admin_router("/model-groups", "model groups", "catalog")

PathName = Annotated[Name, Path()]


class GroupDefinition(Shape):
    """A group's ratio. A request costs its model's price times the group's ratio times the account's."""

    ratio: Ratio

    model_config = ConfigDict(json_schema_extra={"examples": [{"ratio": "1.2"}]})


class GroupBody(Shape):
    """A group, and how many models are in it."""

    name: str
    ratio: str
    models: int

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "premium", "ratio": "1.2", "models": 3}]})


@router.get("", summary="List model groups")
async def list_groups(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[GroupBody]:
    """By name."""
    found = await groups.list_groups(connection, after=read_name_cursor(query.cursor) or "", limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda group: group.name)


@router.get("/{name:path}", summary="Get a model group", responses=NOT_FOUND)
async def get_group(name: PathName, connection: ConnectionDep) -> GroupBody:
    """One group."""
    return _write(await groups.get_group(connection, name))


@router.put("/{name:path}", summary="Create or change a model group", responses={201: {"model": GroupBody}})
async def put_group(
    name: PathName, body: GroupDefinition, response: Response, connection: ConnectionDep, actor: ActorDep
) -> GroupBody:
    """Answers 201 for a new group, else 200. Counts from the next request on; models name their group with `group`."""
    before = await groups.find_group(connection, name)
    group, is_new = await groups.put_group(connection, name, body.ratio)
    response.status_code = 201 if is_new else 200
    after = _write(group)
    shown = None if before is None else _write(before)
    await record(connection, actor, f"model-groups.{'create' if is_new else 'update'}", name, shown, after)
    return after


@router.delete(
    "/{name:path}",
    status_code=204,
    summary="Delete a model group",
    responses={**NOT_FOUND, 409: {"model": ErrorBody, "description": "Models are in it."}},
)
async def delete_group(name: PathName, connection: ConnectionDep, actor: ActorDep) -> None:
    """Refused while a model is in it: its price would change unseen."""
    before = _write(await groups.get_group(connection, name))
    await groups.delete_group(connection, name)
    await record(connection, actor, "model-groups.delete", name, before)


def _write(group: GroupRow) -> GroupBody:
    return GroupBody(name=group.name, ratio=write_ratio(group.ratio), models=group.models)
