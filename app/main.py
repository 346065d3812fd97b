"""The ASGI application of one API process: `create_app(settings)`, and what happens before and after it serves."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import docs_page, errors, health, models, realtime, stored
from app.api.admin import routes
from app.api.examples import keep_nulls
from app.api.gateway import ASGI, Gateway
from app.api.holder import redemptions, reports
from app.api.holder import routes as holder
from app.api.media import characters, files, generations, videos
from app.api.relay_docs import document_relay
from app.api.security_headers import SecurityHeaders
from app.api.surface_docs import SURFACE_PATHS
from app.logs import configure_logs
from app.services import Services
from app.settings import Settings
from app.worker.loop import Worker


def create_app(settings: Settings | None = None) -> ASGI:
    """The gateway. Without settings it reads the environment, which is how uvicorn's worker processes build it."""
    settings = Settings() if settings is None else settings
    configure_logs(settings)
    services = Services(settings)
    worker = Worker(services)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with services:
            worker.start()
            # What start-up made lives as long as the process: taken out of the collector's sight, its pauses get short.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            yield
            await worker.stop()

    api = FastAPI(
        title="Relaygate",
        description="A self-hosted, OpenAI-compatible AI API gateway: keys, exact money, streaming relay.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    api.state.services = services
    errors.install(api)
    api.include_router(health.router)
    api.include_router(models.router)
    api.include_router(stored.router)
    api.include_router(realtime.router)
    api.include_router(holder.router)
    reports.install(api, services.database.reports)
    redemptions.install(api)
    api.include_router(routes.router)
    for media in (generations, videos, files, characters):
        api.include_router(media.router)
    document_relay(api, SURFACE_PATHS)
    docs_page.install(api)
    keep_nulls(api)
    https = (settings.public_url or "").startswith("https://")
    return Gateway(services, tuple(services.formats.values()), SecurityHeaders(api, https=https))
