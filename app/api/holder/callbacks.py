"""`/v1/account/callback-secret`: what signs the calls that an account's tasks make to a `notify_hook`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from app.api.admin.shapes import ErrorBody, Shape
from app.api.caller import PrincipalDep
from app.api.context import ConnectionDep, ServicesDep
from app.api.guarded import GuardedRoute
from app.api.holder.shapes import REFUSALS, HolderQuery
from app.relay.authenticate import authenticate
from app.services import Services
from app.webhooks.callback_secrets import CallbackSecret, get_callback_secret, rotate_callback_secret


class CallbackRoute(GuardedRoute):
    """Only with a key. Nothing is read of a body: there is none."""

    max_body = 1024

    async def check(self, request: Request, services: Services) -> None:
        await authenticate(request.scope, services.principals, services.settings.trusted_proxies)


router = APIRouter(tags=["account"], responses=REFUSALS, route_class=CallbackRoute)

UNREADABLE = {"model": ErrorBody, "description": "It can't be decrypted any more: rotate it."}


class CallbackSecretBody(Shape):
    """What the account's callbacks are signed with (Standard Webhooks)."""

    secret: str = Field(description="`whsec_` and the key in base64, as the libraries of Standard Webhooks take it")
    created_at: datetime
    previous_until: datetime | None = Field(description="Until then the secret before this one signs too")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
                    "created_at": "2030-01-31T12:00:00Z",
                    "previous_until": None,
                }
            ]
        }
    )


@router.get("/v1/account/callback-secret", summary="The callback secret", responses={500: UNREADABLE})
async def show_secret(
    principal: PrincipalDep,
    query: Annotated[HolderQuery, Query()],
    services: ServicesDep,
    connection: ConnectionDep,
    response: Response,
) -> CallbackSecretBody:
    """What signs the calls to a `notify_hook`; made when it is first asked for or needed. One for all keys of the account."""
    return _write(await get_callback_secret(connection, services.vault, principal.account_id), response)


@router.post("/v1/account/callback-secret/rotate", summary="Replace the callback secret")
async def rotate_secret(
    principal: PrincipalDep,
    query: Annotated[HolderQuery, Query()],
    services: ServicesDep,
    connection: ConnectionDep,
    response: Response,
) -> CallbackSecretBody:
    """Makes a new one. The old one goes on signing beside it for 24 hours; only one predecessor is kept."""
    return _write(await rotate_callback_secret(connection, services.vault, principal.account_id), response)


def _write(secret: CallbackSecret, response: Response) -> CallbackSecretBody:
    response.headers["cache-control"] = "no-store"
    return CallbackSecretBody(secret=secret.secret, created_at=secret.created_at, previous_until=secret.previous_until)
