"""`/admin/v1/actions`: the log of what administrators did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field

from app.accounts.actions import Action, list_actions
from app.api.admin.guard import admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.shapes import Moment, Name, QueryId, Shape
from app.api.context import ConnectionDep

router = admin_router("/actions", "actions", "tokens")


class ActionQuery(PageQuery):
    """Which actions."""

    target: Name | None = Field(None, description="The kind of thing that was changed", examples=["channels"])
    target_id: Name | None = Field(None, description="Which one: its id, or of models and groups the name")
    actor: Name | None = Field(None, description="A token's name, `configured` or `cli`")
    token_id: QueryId | None = None
    action: Name | None = Field(None, examples=["channels.update"])
    since: Moment | None = None


class ActionBody(Shape):
    """One change: who made it, from where, and what it changed."""

    id: int
    at: datetime
    token_id: int | None = Field(description="null: the configured token, or the command line")
    actor: str = Field(description="The token's name; `configured`: RELAYGATE_ADMIN_TOKEN; `cli`: the command line")
    address: str | None
    action: str
    target: str
    target_id: str | None
    before: dict[str, Any] | None = Field(description="What changed, as it was; null: it was made")
    after: dict[str, Any] | None = Field(description="What changed, as it is now; null: it is gone")
    request_id: str | None = Field(description="The `x-request-id` of the answer")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 7,
                    "at": "2030-01-31T12:00:00Z",
                    "token_id": 2,
                    "actor": "billing",
                    "address": "203.0.113.7",
                    "action": "accounts.update",
                    "target": "accounts",
                    "target_id": "1",
                    "before": {"enabled": True},
                    "after": {"enabled": False},
                    "request_id": "req_0f8b6a1c2d3e4f5061728394a5b6c7d8",
                }
            ]
        }
    )


@router.get("", summary="List what administrators did")
async def list_all(query: Annotated[ActionQuery, Query()], connection: ConnectionDep) -> Page[ActionBody]:
    """The newest first. Secrets are `[hidden]`; on both sides, that one was replaced. Counters that move by themselves are
    left out.
    """
    filters = query.model_dump(include={"target", "target_id", "actor", "token_id", "action"})
    before = read_id_cursor(query.cursor)
    found = await list_actions(connection, filters, since=query.since, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write, lambda action: action.id)


def _write(action: Action) -> ActionBody:
    return ActionBody(
        id=action.id,
        at=action.at,
        token_id=action.token_id,
        actor=action.actor,
        address=action.address,
        action=action.action,
        target=action.target,
        target_id=action.target_id,
        before=action.before,
        after=action.after,
        request_id=action.request_id,
    )
