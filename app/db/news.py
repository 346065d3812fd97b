"""News of changes, over LISTEN: what tells every process within milliseconds that a key or the catalogue has changed.

A connection that has silently died must not keep a revoked key alive, so the listener asks the database for a sign of
life twice a second: `fresh` is False as soon as news could have been missed, and whoever caches must ask the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS, Database
from app.logs import get_log

CHANNEL = "relaygate"
PULSE = 0.4
"""Seconds between signs of life; with PULSE_TIMEOUT it keeps a missed revocation under one second."""

PULSE_TIMEOUT = 0.5
STALE_AFTER = 0.95

log = get_log("relaygate.news")


class News:
    """Calls `on_news(kind, subject)` for each announcement, and `on_gap()` whenever some may have been missed."""

    def __init__(self, database: Database, on_news: Callable[[str, str], None], on_gap: Callable[[], None]) -> None:
        self._database = database
        self._on_news = on_news
        self._on_gap = on_gap
        self._last_sign = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def fresh(self) -> bool:
        """Whether everything announced until less than a second ago has been heard."""
        return time.monotonic() - self._last_sign < STALE_AFTER

    async def start(self) -> None:
        """Returns once listening, or after five seconds without a database (then it goes on trying)."""
        self._task = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listening.wait(), 5.0)

    async def stop(self) -> None:
        await end_task(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except DATABASE_ERRORS as error:
                log.warning("listener_lost", error=type(error).__name__)
            self._last_sign = float("-inf")
            await asyncio.sleep(PULSE)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            await connection.add_listener(CHANNEL, self._heard)
            started = time.monotonic()
            await connection.execute("SELECT 1", timeout=PULSE_TIMEOUT)
            self._on_gap()
            self._last_sign = started
            self._listening.set()
            while True:
                await asyncio.sleep(PULSE)
                started = time.monotonic()
                # Notifications come before the answer of any later statement on the same connection.
                await connection.execute("SELECT 1", timeout=PULSE_TIMEOUT)
                self._last_sign = started
        finally:
            self._listening.clear()
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        kind, _, subject = str(payload).partition(":")
        self._on_news(kind, subject)
