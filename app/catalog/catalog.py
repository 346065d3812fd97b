"""Keeps the snapshot up to date: reloads when told of a change, and often enough when it can't be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.defaults import DefaultPrices
from app.catalog.load import Opened, load_snapshot
from app.catalog.snapshot import EMPTY, Model, Snapshot
from app.catalog.vault import Vault
from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.errors import unavailable
from app.logs import get_log
from app.providers.base import Provider

log = get_log("relaygate.catalog")

RETRY_PAUSE = 0.5
RELOAD_INTERVAL = 0.1
RELOAD_SHARE = 4
"""Reloads for unknown names begin no closer together than this many times what one takes: a large catalogue's is work."""

LONGEST_INTERVAL = 2.0
SETTLE = 0.02
"""Seconds that a burst of announcements is gathered for: one admin call touches several tables."""


class Catalog:
    """Holds the newest snapshot. Without a database it goes on serving the last one it had."""

    def __init__(self, engine: AsyncEngine, providers: Mapping[str, Provider], vault: Vault) -> None:
        self.snapshot: Snapshot = EMPTY
        self.providers = providers
        self.vault = vault
        self.defaults = DefaultPrices()
        self._engine = engine
        self._opened = Opened()
        self._stale = asyncio.Event()
        self._lock = asyncio.Lock()
        self._loaded_at = float("-inf")
        self._took = 0.0
        self._reloading: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns with the catalogue loaded. Raises when the database can't be read."""
        await self.reload()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        await end_task(self._task)

    def expire(self) -> None:
        """Something has changed, or may have."""
        self._stale.set()

    async def reload(self) -> None:
        # One at a time, and each in one snapshot of the database: a slow reload must not put an older catalogue over a
        # newer one, nor see a model and not yet its channel.
        async with self._lock, self._engine.connect() as connection:
            self._loaded_at = time.monotonic()
            await connection.execution_options(isolation_level="REPEATABLE READ")
            self.snapshot = await load_snapshot(connection, self.providers, self.vault, self._opened)
            await connection.rollback()
            self._took = time.monotonic() - self._loaded_at

    async def snapshot_for(self, name: str, find: Callable[[Snapshot, str], Model | None] | None = None) -> Snapshot:
        """The snapshot at hand; a new one where this model isn't in it or can't be called yet: it may have been made, priced
        or given a channel just now. `find`: how the name is looked up, where it isn't simply a model's.

        Raises GatewayError `service_unavailable`.
        """
        snapshot = self.snapshot
        model = snapshot.find(name) if find is None else find(snapshot, name)
        return snapshot if model is not None and model.is_ready else await self.reloaded()

    async def reloaded(self) -> Snapshot:
        """A snapshot of after this call, for a name that isn't in the one at hand: it may have been made just now.

        All who ask within a tenth of a second (longer, where a reload takes long) share one reload, so unknown names can't
        be used to load the database.
        Raises GatewayError `service_unavailable`.
        """
        if self._reloading is None:
            self._reloading = asyncio.create_task(self._reload_soon())
        try:
            await asyncio.shield(self._reloading)
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error
        return self.snapshot

    async def _reload_soon(self) -> None:
        try:
            pause = min(max(RELOAD_INTERVAL, self._took * RELOAD_SHARE), LONGEST_INTERVAL)
            await asyncio.sleep(max(0.0, self._loaded_at + pause - time.monotonic()))
        finally:
            self._reloading = None  # whoever asks from here on may want what this reload doesn't see yet
        await self.reload()

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
