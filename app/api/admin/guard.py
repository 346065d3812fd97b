"""Who may administer: the bearer of the configured admin token, or of one that the database knows."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import APIRouter, Request

from app.accounts.store import has_admin_token
from app.api.admin.shapes import ErrorBody
from app.api.context import ServicesDep
from app.api.guarded import GuardedRoute
from app.errors import unauthenticated
from app.services import Services

MAX_BODY = 1024 * 1024
"""Bytes of an admin request; a channel with a thousand models is a tenth of it."""

_REFUSED = "This needs the admin token: `Authorization: Bearer ...`."


async def require_admin(request: Request, services: ServicesDep) -> None:
    """Raises GatewayError 401 for anything but exactly one right token. Compares in constant time, or by digest."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > 512:
        raise unauthenticated(_REFUSED)
    configured = services.settings.admin_token
    if configured is not None and hmac.compare_digest(
        configured.get_secret_value().encode(), token.encode("utf-8", "surrogateescape")
    ):
        return
    async with services.database.engine.connect() as connection:
        if not await has_admin_token(connection, token):
            raise unauthenticated(_REFUSED)


class AdminRoute(GuardedRoute):
    """Only with the admin token."""

    max_body = MAX_BODY

    async def check(self, request: Request, services: Services) -> None:
        await require_admin(request, services)


def admin_router(prefix: str, tag: str) -> APIRouter:
    """The router of one resource; every route of it is guarded and bounded."""
    return APIRouter(
        prefix=prefix,
        tags=[f"admin: {tag}"],
        route_class=AdminRoute,
        responses={
            401: {"model": ErrorBody, "description": "No admin token, or a wrong one."},
            413: {"model": ErrorBody, "description": "The body is larger than 1 MiB."},
            422: {"model": ErrorBody, "description": "A field breaks its rule, or isn't known; `param` names it."},
        },
    )


NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "There is no such thing."}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "The name is taken."}}
