"""Ending a task that runs beside the requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def end_task(task: asyncio.Task[None] | None) -> None:
    """Cancels it and waits until it is gone; None is none to end."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
