"""Routes that look at who calls before a byte of the body is read, and that read no more of it than they may hold."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from app.api.context import services_of
from app.errors import GatewayError, Kind
from app.relay.exchange import Message
from app.services import Services


class GuardedRoute(APIRoute):
    """FastAPI would read the body first, whatever its size, and run dependencies then."""

    max_body: ClassVar[int]
    """Bytes."""

    @abstractmethod
    async def check(self, request: Request, services: Services) -> None:
        """Raises GatewayError for those who may not call this."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            services = services_of(request)
            await self.check(request, services)
            body = await _read_body(request, self.max_body, services.settings.body_timeout)

            async def replay() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            return await handle(Request(request.scope, replay))

        return guarded


async def _read_body(request: Request, most: int, timeout: float) -> bytes:
    """Raises GatewayError: 413 above `most` bytes, 408 when it takes too long to arrive, 499 when the client has gone."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    message = f"The request body is larger than {most // 1024} KiB."
                    raise GatewayError(Kind.TOO_LARGE, "request_too_large", message)
                parts.append(part)
    except TimeoutError as error:
        message = "The request body took too long to arrive."
        raise GatewayError(Kind.INVALID, "request_timeout", message, status=408) from error
    except ClientDisconnect as error:
        raise GatewayError(Kind.INVALID, "client_closed_request", "The client hung up.", status=499) from error
    return b"".join(parts)
