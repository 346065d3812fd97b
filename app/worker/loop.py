"""Runs the periodic jobs of a process. Every job may run on any number of replicas at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from app.accounts.actions import prune_actions
from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.ledger.partitions import tend_partitions
from app.ledger.sweep import STRAY_AGE, find_dead_owners, release_strays, renew_lease, resolve_orphans
from app.logs import get_log
from app.media.storage import StorageError
from app.media.store import prune_tasks
from app.relay.kept import prune_kept_answers
from app.routing.share import prune_outages
from app.services import Services
from app.webhooks.outbox import prune

log = get_log("relaygate.worker")

PARENT_CHECK = 1.0
UPKEEP_PAUSE = 3600.0
BATCH_LOOK = 1.0

Job = Callable[[], Awaitable[None]]


class Worker:
    """Heartbeat in every process; sweeping and delivering where the role says so."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engine = services.database.engine
        self._tasks: list[asyncio.Task[None]] = []
        self._suspects: dict[UUID, float] = {}

    def start(self) -> None:
        lease = self._services.settings.lease
        jobs: list[tuple[float, Job]] = [(lease / 8, self._renew), (STRAY_AGE, self._release_strays)]
        if self._services.settings.role != "api":
            jobs.append((lease / 12, self._sweep))
            jobs.append((BATCH_LOOK, self._services.batches.look))
        if self._services.settings.workers > 1:
            jobs.append((PARENT_CHECK, partial(self._end_with_parent, os.getppid())))
        self._tasks = [asyncio.create_task(self._repeat(pause, job)) for pause, job in jobs]
        if self._services.settings.role != "api":
            self._tasks.append(asyncio.create_task(self._repeat(UPKEEP_PAUSE, self._keep_up, first=0.0)))
            self._services.deliverer.start()
            self._services.alerts.start()
            self._services.runner.start()

    async def stop(self) -> None:
        await self._services.runner.stop()
        await self._services.alerts.stop()
        await self._services.deliverer.stop()
        for task in self._tasks:
            await end_task(task)

    async def _repeat(self, pause: float, job: Job, *, first: float | None = None) -> None:
        await asyncio.sleep(pause if first is None else first)
        while True:
            try:
                await job()
            except DATABASE_ERRORS as error:
                log.warning("job_failed", job=str(job), error=type(error).__name__)
            await asyncio.sleep(pause)

    async def _end_with_parent(self, parent: int) -> None:
        """A supervisor that was killed can't stop its processes: left alone they would go on holding the port."""
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    async def _renew(self) -> None:
        await renew_lease(self._engine, self._services.instance, self._services.settings.lease / 2)

    async def _release_strays(self) -> None:
        count = await release_strays(self._engine, self._services.instance, self._services.ledger.open)
        if count:
            log.warning("strays_released", count=count)

    async def _keep_up(self) -> None:
        await tend_partitions(self._engine, self._services.settings.retention_months)
        async with self._engine.begin() as connection:
            await prune(connection)
            await prune_tasks(connection)
            await prune_kept_answers(connection)
            await prune_outages(connection)
            await prune_actions(connection, self._services.settings.action_retention_days)
        oldest = datetime.now(UTC).date() - timedelta(days=self._services.settings.media_retention_days)
        try:
            await self._services.storage.prune(oldest)
        except StorageError as error:
            log.warning("media_not_pruned", error=error.message)

    async def _sweep(self) -> None:
        """Resolves holds of owners that stayed dead for a quarter of the lease while the database was there to renew at.

        After an outage of the database every lease has run out: living processes must get to renew theirs first. In all a
        dead process's holds are gone within the lease: a half until its own runs out, a quarter of patience, a tick.
        """
        now = time.monotonic()
        dead = await find_dead_owners(self._engine)
        self._suspects = {owner: self._suspects.get(owner, now) for owner in dead}
        for owner, since in self._suspects.items():
            if owner != self._services.instance and now - since >= self._services.settings.lease / 4:
                count = await resolve_orphans(self._engine, owner)
                log.warning("orphans_resolved", owner=str(owner), count=count)
