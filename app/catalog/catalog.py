"""Keeps the snapshot up to date: reloads when told of a change, and often enough when it can't be told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.snapshot import EMPTY, Snapshot, load_snapshot
from app.catalog.vault import Vault
from app.db.engine import DATABASE_ERRORS
from app.providers.base import Provider

log = structlog.get_logger("relaygate.catalog")

RETRY_PAUSE = 0.5
SETTLE = 0.02
"""Seconds that a burst of announcements is gathered for: one admin call touches several tables."""


class Catalog:
    """Holds the newest snapshot. Without a database it goes on serving the last one it had."""

    def __init__(self, engine: AsyncEngine, providers: Mapping[str, Provider], vault: Vault) -> None:
        self.snapshot: Snapshot = EMPTY
        self.providers = providers
        self.vault = vault
        self._engine = engine
        self._stale = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns with the catalogue loaded. Raises when the database can't be read."""
        await self.reload()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def expire(self) -> None:
        """Something has changed, or may have."""
        self._stale.set()

    async def reload(self) -> None:
        async with self._engine.connect() as connection:
            self.snapshot = await load_snapshot(connection, self.providers, self.vault)

    async def _follow(self) -> None:
        while True:
            await self._stale.wait()
            await asyncio.sleep(SETTLE)
            self._stale.clear()
            try:
                await self.reload()
            except DATABASE_ERRORS as error:
                log.warning("catalog_reload_failed", error=type(error).__name__)
                self._stale.set()
                await asyncio.sleep(RETRY_PAUSE)
