"""The worker of media tasks: takes what is due, has many calls under way at once, and writes what they came to in batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.catalog import Catalog
from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.logs import get_log
from app.media.polls import Polls
from app.media.queue import Claim, Progress, claim_orders, claim_polls, give_back, record_polls, renew
from app.media.submissions import Submissions

log = get_log("relaygate.media")

POLLS = 256
"""Polls under way at a time; of one channel no more than its option `task_calls` says."""

POLLS_PER_CHANNEL = 128
ORDERS = 128
"""Submissions under way at a time: an upstream that answers with the result itself takes a minute, and megabytes."""

ENDINGS = 16
"""Results that are copied at a time."""

TICK = 0.05
"""Seconds between two looks at the queue: what becomes due meanwhile shares one statement."""

IDLE = 5.0
"""Seconds after which the queue is looked at though nobody announced anything: claims of dead workers run out silently."""

LINGER = 0.02
STOP_PATIENCE = 2.0

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Runner:
    """`start` it in processes that work on tasks."""

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Catalog,
        polls: Polls,
        submissions: Submissions,
        registry: CollectorRegistry,
        lease: float,
    ) -> None:
        """`lease`: seconds by which a worker that was killed delays what it had claimed."""
        self._lease = lease
        self._engine = engine
        self._catalog = catalog
        self._polls = polls
        self._submissions = submissions
        self._news = asyncio.Event()
        self._open: dict[asyncio.Task[None], Claim] = {}
        self._unwritten: dict[tuple[int, str], Progress] = {}
        self._polling = 0
        self._ordering = 0
        self._endings = asyncio.Semaphore(ENDINGS)
        self._per_channel: Counter[int] = Counter()
        self._flushing: asyncio.Task[None] | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._lateness = Histogram(
            "relaygate_task_lateness_seconds", "How late tasks were looked at", registry=registry, buckets=BUCKETS
        )

    def start(self) -> None:
        self._jobs = [asyncio.create_task(self._run()), asyncio.create_task(self._renew())]

    def wake(self) -> None:
        """Something may be due."""
        self._news.set()

    async def stop(self) -> None:
        """Breaks off what is under way after two seconds, and gives it back: another worker may have it at once."""
        for job in self._jobs:
            await end_task(job)
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_PATIENCE)
        left = dict(self._open)
        for task in left:
            await end_task(task)
        await end_task(self._flushing)
        try:
            async with asyncio.timeout(STOP_PATIENCE), self._engine.begin() as connection:
                if self._unwritten:
                    await record_polls(connection, list(self._unwritten.values()))
                if left:
                    await give_back(connection, list(left.values()))
        except DATABASE_ERRORS as error:
            log.warning("claims_not_given_back", count=len(left), error=type(error).__name__)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            pause = IDLE
            try:
                pause = await self._claim()
            except DATABASE_ERRORS as error:
                log.warning("tasks_unreadable", error=type(error).__name__)
            await asyncio.sleep(TICK)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, IDLE)):
                    await self._news.wait()

    async def _claim(self) -> float:
        """Begins what is due and has a place; returns for how long there is nothing more to do."""
        return min(await self._claim_polls(), await self._claim_orders())

    async def _claim_polls(self) -> float:
        room = POLLS - self._polling
        if room <= 0:
            return IDLE  # whoever ends makes room, and news
        full = [channel for channel in self._per_channel if self._places(channel) <= 0]
        async with self._engine.begin() as connection:
            claims, pause = await claim_polls(connection, room=room, full=full, seconds=self._lease)
        # Not before the claims are committed: what a quick step writes must find them.
        left = [claim for claim in claims if not self._begin_poll(claim)]
        if left:
            # More of one channel than it has places: it is left out from now on, until it has some.
            async with self._engine.begin() as connection:
                await give_back(connection, left)
        return _rest(len(claims), room, pause)

    async def _claim_orders(self) -> float:
        room = ORDERS - self._ordering
        if room <= 0:
            return IDLE
        async with self._engine.begin() as connection:
            claims, pause = await claim_orders(connection, room=room, seconds=self._lease)
        for claim in claims:
            self._ordering += 1
            self._begin(claim, self._order(claim))
        return _rest(len(claims), room, pause)

    def _places(self, channel_id: int) -> int:
        """How many more calls may go to this channel's upstream."""
        channel = self._catalog.snapshot.channels.get(channel_id)
        bound = None if channel is None else channel.site.options.get("task_calls")
        return (bound if isinstance(bound, int) else POLLS_PER_CHANNEL) - self._per_channel[channel_id]

    def _begin_poll(self, claim: Claim) -> bool:
        channel_id = claim.channel_id or 0
        if self._places(channel_id) <= 0:
            return False
        self._polling += 1
        self._per_channel[channel_id] += 1
        self._begin(claim, self._poll(claim))
        return True

    def _begin(self, claim: Claim, work: Coroutine[Any, Any, None]) -> None:
        self._lateness.observe(max(0.0, claim.lateness))
        task = asyncio.create_task(self._guard(claim, work))
        self._open[task] = claim
        task.add_done_callback(self._ended)

    async def _poll(self, claim: Claim) -> None:
        try:
            outcome = await self._polls.poll(claim)
        finally:
            self._polling -= 1
            self._per_channel -= Counter([claim.channel_id or 0])  # drops what has come to zero
            self._news.set()
        if isinstance(outcome, Progress):
            self._write(outcome)
        else:
            async with self._endings:
                progress = await self._polls.conclude(claim, outcome)
            if progress is not None:
                self._write(progress)

    async def _order(self, claim: Claim) -> None:
        try:
            await self._submissions.submit(claim)
        finally:
            self._ordering -= 1

    async def _guard(self, claim: Claim, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DATABASE_ERRORS as error:
            # Its claim runs out, and it is done again.
            log.warning("task_not_written", task=claim.id, error=type(error).__name__)
        except Exception:
            log.exception("task_bug", task=claim.id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._open[task]
        self._news.set()

    # -- writing in batches ----------------------------------------------------------------------------------------

    def _write(self, progress: Progress) -> None:
        self._unwritten[progress.claim.account_id, progress.claim.id] = progress
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._unwritten:
            await asyncio.sleep(LINGER)
            batch = dict(self._unwritten)
            try:
                async with self._engine.begin() as connection:
                    await record_polls(connection, list(batch.values()))
            except DATABASE_ERRORS as error:
                # The claims run out, and the tasks are polled again.
                log.warning("polls_not_written", count=len(batch), error=type(error).__name__)
            for key in batch:
                del self._unwritten[key]

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            claims = [*self._open.values(), *(progress.claim for progress in self._unwritten.values())]
            if not claims:
                continue
            try:
                async with self._engine.begin() as connection:
                    await renew(connection, claims, self._lease)
            except DATABASE_ERRORS as error:
                log.warning("claims_not_renewed", count=len(claims), error=type(error).__name__)


def _rest(claimed: int, room: int, pause: float | None) -> float:
    """For how long nothing more is due: not at all, where there was more than there was room for."""
    if claimed == room:
        return 0.0
    return IDLE if pause is None else pause
