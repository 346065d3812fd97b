"""Who may administer what: the bearer of the configured admin token, or of one that the database knows, within its scopes."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Request

from app.accounts.admin_tokens import Actor
from app.accounts.throttle import Address
from app.api.admin.shapes import ErrorBody
from app.api.guarded import GuardedRoute
from app.errors import GatewayError, Kind, unauthenticated
from app.relay.authenticate import client_address
from app.services import Services

MAX_BODY = 1024 * 1024
"""Bytes of an admin request; a channel with a thousand models is a tenth of it."""

CONFIGURED = Actor("configured")
"""Whoever has RELAYGATE_ADMIN_TOKEN: everything, for ever."""

_ACTOR = "relaygate.actor"
_REFUSED = "This needs the admin token: `Authorization: Bearer ...`."


async def require_admin(request: Request, services: Services, scope: str) -> Actor:
    """Whose the request is; endpoints find it with `ActorDep`.

    Raises GatewayError: 401 for anything but exactly one right token (unknown, expired and revoked ones get one answer), 429
    where an address has tried too many, 403 `insufficient_scope` for one that may do other things. Compares in constant
    time, or by digest.
    """
    token = _presented_token(request)
    address = client_address(request.scope, services.settings.trusted_proxies)
    found = CONFIGURED if _is_configured(token, services) else await services.admin_tokens.find(token, address)
    if found is None:
        raise unauthenticated(_REFUSED)
    if not found.may(scope, reads=request.method in ("GET", "HEAD")):
        raise lacks_scope(scope)
    actor = replace(found, address=_write(address), request_id=request.scope.get("relaygate.request_id"))
    request.scope[_ACTOR] = actor
    return actor


def lacks_scope(scope: str) -> GatewayError:
    """The 403 for a token that is good, but not for this."""
    return GatewayError(Kind.PERMISSION, "insufficient_scope", f"This admin token lacks the scope `{scope}`.")


def _presented_token(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > 512:
        raise unauthenticated(_REFUSED)
    return token


def _is_configured(token: str, services: Services) -> bool:
    configured = services.settings.admin_token
    return configured is not None and hmac.compare_digest(
        configured.get_secret_value().encode(), token.encode("utf-8", "surrogateescape")
    )


def _write(address: Address | None) -> str | None:
    return None if address is None else str(address)


async def _actor(request: Request) -> Actor:
    actor: Actor = request.scope[_ACTOR]
    return actor


ActorDep = Annotated[Actor, Depends(_actor)]
"""Who administers: the route's guard has found out."""


class AdminRoute(GuardedRoute):
    """Only with an admin token that has the scope."""

    max_body = MAX_BODY
    scope: ClassVar[str]

    async def check(self, request: Request, services: Services) -> None:
        await require_admin(request, services, self.scope)


def admin_router(prefix: str, tag: str, needs: str) -> APIRouter:
    """The router of one resource; every route of it is guarded and bounded. `needs`: the scope of its routes."""

    # A class, because FastAPI makes a router's routes anew, from their class, where it is included.
    class ScopedRoute(AdminRoute):
        scope = needs

    return APIRouter(
        prefix=prefix,
        tags=[f"admin: {tag}"],
        route_class=ScopedRoute,
        responses={
            400: {
                "model": ErrorBody,
                "description": "The body can't be read, the cursor isn't ours, or it can't be done.",
            },
            401: {"model": ErrorBody, "description": "No admin token, or a wrong one."},
            403: {"model": ErrorBody, "description": f"The admin token has none of the scopes `{needs}` and `admin`."},
            413: {"model": ErrorBody, "description": "The body is larger than 1 MiB."},
            422: {"model": ErrorBody, "description": "A field breaks its rule, or isn't known; `param` names it."},
            429: {"model": ErrorBody, "description": "Too many wrong tokens came from the same address."},
        },
    )


NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "There is no such thing."}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "The name is taken."}}
