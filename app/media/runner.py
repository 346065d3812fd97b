"""The worker of media tasks: takes what is due, has many calls under way at once, and writes what they came to in batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.catalog import Catalog
from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.logs import get_log
from app.media.ending import OVERDUE
from app.media.pace import COPIES, COPIES_PER_CHANNEL, ORDERS, RESULT_PATIENCE, pause_after_fault
from app.media.polls import Polls
from app.media.queue import (
    Claim,
    Progress,
    claim_orders,
    claim_polls,
    give_back,
    is_refused,
    record_fault,
    record_polls,
    renew,
)
from app.media.settle import Ending
from app.media.store import announce
from app.media.submissions import Submissions

log = get_log("relaygate.media")

POLLS = 256
"""Polls under way at a time; of one channel no more than its option `task_calls` says."""

POLLS_PER_CHANNEL = 128
ENDINGS = 16
"""Tasks that end without a result at a time: each takes a connection of the database for a moment."""

TICK = 0.05
"""Seconds between two looks at the queue: what becomes due meanwhile shares one statement."""

IDLE = 5.0
"""Seconds after which the queue is looked at though nobody announced anything: claims of dead workers run out silently."""

LINGER = 0.02
STOP_PATIENCE = 2.0
SUBMIT_PATIENCE = 20.0
"""Seconds for submissions at SIGTERM: one that is broken off is one of which nobody knows whether it arrived."""

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
        self._copies = asyncio.Semaphore(COPIES)
        self._copies_per_channel: dict[int, asyncio.Semaphore] = {}
        self._per_channel: Counter[int] = Counter()
        self._flushing: asyncio.Task[None] | None = None
        # Statements over the same rows in another order would wait for each other.
        self._many_rows = asyncio.Lock()
        self._renewed = 0.0
        self._claiming: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._lateness = Histogram(
            "relaygate_task_lateness_seconds", "How late tasks were looked at", registry=registry, buckets=BUCKETS
        )

    def start(self) -> None:
        self._claiming = asyncio.create_task(self._run())
        self._renewing = asyncio.create_task(self._renew())

    def wake(self) -> None:
        """Something may be due."""
        self._news.set()

    async def stop(self) -> None:
        """Breaks off what is under way after two seconds, submissions after twenty, and gives it back: another worker may
        have it at once.
        """
        await end_task(self._claiming)
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_PATIENCE)
        await self._break_off([task for task, claim in self._open.items() if not self._submissions.is_sent(claim)])
        if self._open:
            await asyncio.wait(self._open, timeout=SUBMIT_PATIENCE)
        await self._break_off(list(self._open))
        await end_task(self._renewing)
        await end_task(self._flushing)
        if self._unwritten:
            with suppress(*DATABASE_ERRORS):  # else they are polled again
                async with asyncio.timeout(STOP_PATIENCE), self._engine.begin() as connection:
                    await record_polls(connection, list(self._unwritten.values()))

    async def _break_off(self, tasks: list[asyncio.Task[None]]) -> None:
        claims = [self._open[task] for task in tasks]
        for task in tasks:
            await end_task(task)
        if not claims:
            return
        try:
            async with asyncio.timeout(STOP_PATIENCE), self._engine.begin() as connection:
                await give_back(connection, claims)
                await announce(connection)
        except DATABASE_ERRORS as error:
            log.warning("claims_not_given_back", count=len(claims), error=type(error).__name__)

    async def _run(self) -> None:
        idle = min(IDLE, self._lease / 2)
        while True:
            self._news.clear()
            pause = idle
            try:
                if monotonic() - self._renewed > self._lease * 2 / 3:
                    # The database was away, or the process stood still: what is under way here must not look forsaken.
                    await self._renew_all()
                pause = await self._claim()
            except DATABASE_ERRORS as error:
                log.warning("tasks_unreadable", error=type(error).__name__)
            await asyncio.sleep(TICK)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, idle)):
                    await self._news.wait()

    async def _claim(self) -> float:
        """Begins what is due and has a place; returns for how long there is nothing more to do."""
        return min(await self._claim_polls(), await self._claim_orders())

    async def _claim_polls(self) -> float:
        while (room := POLLS - self._polling) > 0:
            known = {*self._per_channel, *(channel.id for channel in self._catalog.snapshot.channels.values())}
            places = {channel: count for channel in known if (count := self._places(channel)) != POLLS_PER_CHANNEL}
            async with self._engine.begin() as connection:
                claims, pause = await claim_polls(
                    connection, room=room, places=places, usual=POLLS_PER_CHANNEL, seconds=self._lease
                )
            # Not before the claims are committed: what a quick step writes must find them.
            for claim in claims:
                self._begin_poll(claim)
            if not any(self._places(claim.channel_id or 0) <= 0 for claim in claims):
                return _rest(len(claims), room, pause)
            # What has just filled up is left out now: others may stand behind it in the queue.
        return IDLE  # whoever ends makes room, and news

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

    def _begin_poll(self, claim: Claim) -> None:
        self._polling += 1
        self._per_channel[claim.channel_id or 0] += 1
        self._begin(claim, self._poll(claim))

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
        elif isinstance(outcome, Ending):
            await self._end(claim, outcome)
        else:
            # Each channel in its own line: an upstream whose files come slowly holds up nobody else's.
            own = self._copies_per_channel.setdefault(claim.channel_id or 0, asyncio.Semaphore(COPIES_PER_CHANNEL))
            async with own, self._copies:
                progress = await self._polls.conclude(claim, outcome)
            if progress is not None:
                self._write(progress)

    async def _end(self, claim: Claim, ending: Ending) -> None:
        async with self._endings:
            await self._polls.conclude(claim, ending)

    async def _order(self, claim: Claim) -> None:
        try:
            await self._submissions.submit(claim)
        finally:
            self._ordering -= 1

    async def _guard(self, claim: Claim, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DATABASE_ERRORS as error:
            if is_refused(error):
                log.exception("task_bug", task=claim.id)
                await self._record_bug(claim)
            else:
                # Its claim runs out, and it is done again.
                log.warning("task_not_written", task=claim.id, error=type(error).__name__)
        except Exception:
            log.exception("task_bug", task=claim.id)
            await self._record_bug(claim)

    async def _record_bug(self, claim: Claim) -> None:
        """A defect must not keep a task for ever, unseen: it shows as a fault, and long after its deadline the task ends."""
        try:
            if claim.step == "poll" and claim.overdue_by > RESULT_PATIENCE:
                await self._end(claim, OVERDUE)
            else:
                async with self._engine.begin() as connection:
                    await record_fault(connection, claim, "internal_error", pause_after_fault(claim.faults))
        except DATABASE_ERRORS as error:
            log.warning("task_not_written", task=claim.id, error=type(error).__name__)

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
            await self._record(list(batch.values()))
            for key, progress in batch.items():
                if self._unwritten[key] is progress:  # else it was polled again meanwhile
                    del self._unwritten[key]

    async def _record(self, batch: list[Progress]) -> None:
        try:
            async with self._many_rows, self._engine.begin() as connection:
                await record_polls(connection, batch)
        except (*DATABASE_ERRORS, ValueError, TypeError) as error:
            if not is_refused(error):
                # The claims run out, and the tasks are polled again.
                log.warning("polls_not_written", count=len(batch), error=type(error).__name__)
            elif len(batch) == 1:
                log.exception("task_bug", task=batch[0].claim.id)
                await self._record_bug(batch[0].claim)
            else:
                # One of them can't be written; the others must not go with it.
                half = len(batch) // 2
                await self._record(batch[:half])
                await self._record(batch[half:])

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._renew_all()
            except DATABASE_ERRORS as error:
                log.warning("claims_not_renewed", count=len(self._open), error=type(error).__name__)

    async def _renew_all(self) -> None:
        claims = [*self._open.values(), *(progress.claim for progress in self._unwritten.values())]
        if claims:
            async with self._many_rows, self._engine.begin() as connection:
                await renew(connection, claims, self._lease)
        self._renewed = monotonic()


def _rest(claimed: int, room: int, pause: float | None) -> float:
    """For how long nothing more is due: not at all, where there was more than there was room for."""
    if claimed == room:
        return 0.0
    return IDLE if pause is None else pause
