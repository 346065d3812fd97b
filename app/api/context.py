"""How endpoints get at the services of their process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from app.services import Services


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    # A coroutine, because FastAPI sends plain functions to a thread pool.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]


async def _connection(services: ServicesDep) -> AsyncIterator[AsyncConnection]:
    """One transaction a request: committed when the endpoint returns, rolled back when it raises."""
    async with services.database.engine.begin() as connection:
        yield connection


ConnectionDep = Annotated[AsyncConnection, Depends(_connection, scope="function")]
