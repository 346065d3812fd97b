"""Looks after all open requests: ends those that wait too long, and notices clients that hang up."""

from __future__ import annotations

import asyncio

from app.core.background import end_task
from app.relay.exchange import Exchange

TICK = 0.25
LISTEN_AFTER = 0.2
"""Seconds after which a request is worth a task that waits for its client to hang up: most are done before."""


class Watch:
    """One tick for all requests instead of timers for each."""

    def __init__(self, *, hangup_drain: float | None) -> None:
        self.open: set[Exchange] = set()
        self._hangup_drain = hangup_drain
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end_task(self._task)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(TICK)
            now = clock()
            for exchange in tuple(self.open):
                if now > exchange.deadline:
                    exchange.expire()
                elif now - exchange.started > LISTEN_AFTER:
                    exchange.listen(self._hangup_drain)
