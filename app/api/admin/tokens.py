"""`/admin/v1/tokens`: who may administer, what, and for how long."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import Query
from pydantic import AfterValidator, ConfigDict, Field

from app.accounts import admin_tokens
from app.accounts.admin_tokens import Actor, AdminToken
from app.api.admin.codes import check_future
from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router, lacks_scope
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.record import record
from app.api.admin.shapes import Moment, Name, PathId, Shape, refuse, refused
from app.api.context import ConnectionDep

router = admin_router("/tokens", "tokens", "tokens")

TokenScope = Literal["admin", "read", "accounts", "catalog", "usage", "tokens", "metrics"]


def _check_scopes(values: list[TokenScope]) -> list[TokenScope]:
    if len(set(values)) < len(values):
        refuse("a scope stands twice")
    return values


class NewToken(Shape):
    """A token for a person or a program. It can't be changed afterwards: make another, and revoke this one."""

    name: Name
    scopes: Annotated[list[TokenScope], Field(min_length=1), AfterValidator(_check_scopes)] = Field(
        description="admin: everything; read: every GET; accounts: accounts, keys, grants, codes; catalog: channels, "
        "models, groups, prices; usage: entries, audit, tasks, deliveries; tokens: tokens and the log of actions; "
        "metrics: /metrics"
    )
    expires_at: Annotated[Moment, AfterValidator(check_future)] | None = Field(
        None, description="RFC 3339 with an offset; null: never"
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "billing", "scopes": ["accounts", "read"], "expires_at": "2090-12-31T23:59:59Z"}]
        }
    )


TOKEN_EXAMPLE: dict[str, Any] = {
    "id": 2,
    "name": "billing",
    "scopes": ["accounts", "read"],
    "created_at": "2030-01-31T12:00:00Z",
    "expires_at": "2090-12-31T23:59:59Z",
    "last_used_at": "2030-02-01T08:30:00Z",
    "revoked_at": None,
}


class TokenBody(Shape):
    """A token without the token: that is shown once, when it is made."""

    id: int
    name: str
    scopes: list[TokenScope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Up to a minute behind; null: never")
    revoked_at: datetime | None

    model_config = ConfigDict(json_schema_extra={"examples": [TOKEN_EXAMPLE]})


class IssuedToken(TokenBody):
    """A token that was made just now, shown this once."""

    token: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**TOKEN_EXAMPLE, "last_used_at": None, "token": "rga-0123456789abcdef0123456789abcdef0123456789a"}
            ]
        }
    )


@router.post("", status_code=201, summary="Create an admin token")
async def create_token(body: NewToken, connection: ConnectionDep, actor: ActorDep) -> IssuedToken:
    """The answer holds the token itself, this once: only its digest is kept. Nobody can make one that may do more, or lives
    longer, than the token that makes it.
    """
    _check_within(actor, body.scopes)
    if actor.expires_at is not None and (body.expires_at is None or body.expires_at > actor.expires_at):
        raise refused("expires_at", "must not be after that of the token that makes it")
    made, token = await admin_tokens.create_token(connection, body.name, body.scopes, body.expires_at)
    shown = write_token(made)
    await record(connection, actor, "tokens.create", made.id, None, shown)
    return IssuedToken(token=token, **shown.model_dump())


@router.get("", summary="List admin tokens")
async def list_tokens(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[TokenBody]:
    """In the order in which they were made, those included that are revoked or have expired. The configured
    RELAYGATE_ADMIN_TOKEN isn't among them.
    """
    after = read_id_cursor(query.cursor) or 0
    found = await admin_tokens.list_tokens(connection, after=after, limit=query.limit + 1)
    return page_of(found, query.limit, write_token, lambda token: token.id)


@router.delete("/{token_id}", status_code=204, summary="Revoke an admin token", responses=NOT_FOUND)
async def revoke_token(token_id: PathId, connection: ConnectionDep, actor: ActorDep) -> None:
    """Refused from the next request on; it stays in the list. Nobody can revoke one that may do more than their own."""
    before = await admin_tokens.get_token(connection, token_id, lock=True)
    _check_within(actor, cast("list[TokenScope]", before.scopes))
    after = await admin_tokens.revoke_token(connection, token_id)
    await record(connection, actor, "tokens.revoke", token_id, write_token(before), write_token(after))


def _check_within(actor: Actor, scopes: list[TokenScope]) -> None:
    """Raises GatewayError 403 naming the first scope that the actor lacks."""
    for scope in scopes:
        if not actor.holds((scope,)):
            raise lacks_scope(scope)


def write_token(token: AdminToken) -> TokenBody:
    """A token as it is listed."""
    return TokenBody(
        id=token.id,
        name=token.name,
        scopes=cast("list[TokenScope]", token.scopes),
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
