"""Who may administer: the bearer of the configured admin token, or of one that the database knows."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from app.accounts.store import has_admin_token
from app.api.admin.shapes import ErrorBody
from app.api.context import ServicesDep, services_of
from app.errors import GatewayError, Kind, unauthenticated
from app.relay.exchange import Message

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


async def _read_body(request: Request, timeout: float) -> bytes:
    """Raises GatewayError: 413 above MAX_BODY, 408 when it takes too long to arrive."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    message = f"The request body is larger than {MAX_BODY // 1024} KiB."
                    raise GatewayError(Kind.TOO_LARGE, "request_too_large", message)
                parts.append(part)
    except TimeoutError as error:
        message = "The request body took too long to arrive."
        raise GatewayError(Kind.INVALID, "request_timeout", message, status=408) from error
    return b"".join(parts)


class AdminRoute(APIRoute):
    """Refuses strangers before a byte of their body is read, and reads no more of anybody's than it may hold.

    FastAPI would read the body first, whatever its size, and run dependencies then.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            services = services_of(request)
            await require_admin(request, services)
            body = await _read_body(request, services.settings.body_timeout)

            async def replay() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, replay))

        return guarded


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
