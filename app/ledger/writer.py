"""Group commit in both directions: whatever became ready while a batch was in flight shares the next one.

A lone request is sent at once and pays one round trip; a thousand share a few. Each lane owns one connection, so nothing
of a pool is held while answers stream. What a lost connection leaves unknown is made known: settlements are sent again
(they are idempotent), asks are refused and their holds, should they exist after all, released.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import asyncpg
import orjson
from asyncpg.prepared_stmt import PreparedStatement

from app.db.engine import Database
from app.errors import unavailable
from app.ledger.records import Ask, Hold, Refusal, Settlement, Status
from app.ledger.statement import LEDGER_BATCH, arguments
from app.logs import get_log

LANES = 2
"""Batches in flight. Two overlap one batch's commit with the next one's work; more only queue on the same row locks."""

MAX_BATCH = 256
LINGER = 0.003
"""Seconds that settlements alone wait for a hold to share their commit with: no client waits for them."""

STATEMENT_TIMEOUT = 10.0
RETRY_PAUSE = 0.25

ROW_FAULTS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    orjson.JSONEncodeError,
)
"""A row of the batch can't be written, now or later."""

LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)
"""Whatever else goes wrong is the database's trouble, not the row's: it is away, full, read-only after a failover. The
connection isn't trusted any more, and what the server did with the statement is unknown."""

ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)

log = get_log("relaygate.ledger")


class NotSentError(ConnectionError):
    """No connection could be made: the server has seen nothing of the batch."""


class Lane:
    """One connection with the statement prepared; reconnects when it was lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: asyncpg.Connection | None = None
        self._statement: PreparedStatement | None = None

    async def statement(self) -> PreparedStatement:
        if self._statement is None or self._connection is None or self._connection.is_closed():
            self.drop()
            try:
                # Batches differ in size, so PostgreSQL would plan each one anew: a third of what a batch costs it.
                self._connection = await self._database.connect(plan_cache_mode="force_generic_plan")
                self._statement = await self._connection.prepare(LEDGER_BATCH, timeout=STATEMENT_TIMEOUT)
            except LOST as error:
                raise NotSentError(f"{type(error).__name__}: {error}") from error
        return self._statement

    def drop(self) -> None:
        """Cuts the connection without a word: the server may be past answering."""
        connection, self._connection, self._statement = self._connection, None, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            with suppress(*LOST):
                await self._connection.close(timeout=5.0)


class LedgerWriter:
    """Holds and settles for one gateway process, named `owner` in the database."""

    def __init__(self, database: Database, owner: UUID, *, lanes: int = LANES) -> None:
        self.owner = owner
        self._idle = [Lane(database) for _ in range(lanes)]
        self._lanes = tuple(self._idle)
        self._asks: deque[Ask] = deque()
        self._settlements: deque[Settlement] = deque()
        self._scheduled: asyncio.Handle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.on_settled: Callable[[Sequence[Settlement]], None] | None = None
        """Called when settlements have become durable: their money is free again."""
        self.open: set[UUID] = set()
        """Holds that this process has asked for and not yet seen settled: what the stray sweep must leave alone."""

    async def hold(self, ask: Ask) -> Hold | Refusal:
        """A durable hold, or why there is none. Raises GatewayError `service_unavailable` while the database is away.

        When the caller is cancelled while it waits, the hold is given back.
        """
        self._asks.append(ask)
        self.open.add(ask.id)
        self._schedule()
        try:
            amount = await ask.reply
        except asyncio.CancelledError:
            # Granted in the very turn of the loop in which the caller was cancelled: nobody else will give it back.
            if not ask.reply.cancelled() and ask.reply.exception() is None and ask.reply.result() >= 0:
                self._release(ask, "client_closed_request")
            raise
        return Refusal(amount) if amount < 0 else Hold(ask.id, ask.account_id, amount, ask.tokens is not None)

    def settle(self, settlement: Settlement) -> None:
        """Ends a hold soon; returns at once and can't fail, so it is safe in a `finally`."""
        self._settlements.append(settlement)
        if settlement.hold.limited:  # the next request of the same client may wait for it
            self._schedule()
        elif self._lingering is None and self._scheduled is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self._dispatch)

    @property
    def pending(self) -> int:
        """Settlements that aren't durable yet, those in flight included."""
        return len(self._settlements) + len(self._running)

    async def flush(self, timeout: float) -> bool:
        """Waits until every settlement is durable; False if the time ran out first."""
        deadline = asyncio.get_running_loop().time() + timeout
        while self._settlements or self._running:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                return False
            self._dispatch()
            if self._running:
                await asyncio.wait(set(self._running), timeout=min(remaining, RETRY_PAUSE))
            else:
                await asyncio.sleep(min(remaining, RETRY_PAUSE))
        return True

    async def close(self) -> None:
        """Ends the connections; what `flush` couldn't make durable before is given up."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._idle.clear()  # without lanes nothing is dispatched any more
        for handle in (self._scheduled, self._lingering, self._pause):
            if handle is not None:
                handle.cancel()
        for lane in self._lanes:
            if running:
                lane.drop()
            await lane.close()

    # -- batching ------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._scheduled is None and self._idle:
            # call_soon, not at once: everything that becomes ready in this turn of the loop shares the batch.
            self._scheduled = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        while self._idle and (self._asks or (self._settlements and self._pause is None)):
            asks = self._take_asks()
            settlements = [self._settlements.popleft() for _ in range(min(len(self._settlements), MAX_BATCH))]
            if not asks and not settlements:
                return
            task = asyncio.get_running_loop().create_task(self._run(self._idle.pop(), settlements, asks))
            self._running.add(task)
            task.add_done_callback(partial(self._ended, settlements, asks))

    def _take_asks(self) -> list[Ask]:
        taken: list[Ask] = []
        while self._asks and len(taken) < MAX_BATCH:
            ask = self._asks.popleft()
            if ask.reply.done():  # cancelled before it was sent
                self.open.discard(ask.id)
            else:
                taken.append(ask)
        return taken

    def _ended(self, settlements: Sequence[Settlement], asks: Sequence[Ask], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            self._give_up(settlements, asks)
        elif (error := task.exception()) is not None:
            log.critical("ledger_batch_bug", exc_info=error)
            self._give_up(settlements, asks)
        if self._asks:
            self._schedule()
        elif self._settlements and self._lingering is None and self._pause is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self._dispatch)

    async def _run(self, lane: Lane, settlements: list[Settlement], asks: list[Ask]) -> None:
        try:
            await self._attempt(lane, settlements, asks)
        finally:
            self._idle.append(lane)

    async def _attempt(self, lane: Lane, settlements: list[Settlement], asks: list[Ask]) -> None:
        try:
            await self._write(lane, settlements, asks)
        except ROW_FAULTS as error:
            await self._isolate(lane, settlements, asks, error)
        except LOST as error:
            lane.drop()
            self._lost(settlements, asks, error)

    async def _write(self, lane: Lane, settlements: list[Settlement], asks: list[Ask]) -> None:
        values = arguments(self.owner, settlements, asks)
        for attempt in (1, 2, 3):
            statement = await lane.statement()
            try:
                row = await statement.fetchrow(*values, timeout=STATEMENT_TIMEOUT)
                break
            except ROLLED_BACK:
                if attempt == 3:
                    raise
        self.open.difference_update([item.hold.id for item in settlements])
        if row["settled"] != len(settlements):
            log.warning("settled_late", count=len(settlements) - row["settled"])
        if self.on_settled is not None and settlements:
            self.on_settled(settlements)
        granted, standings = row["granted"], row["standings"]
        for index, ask in enumerate(asks):
            if standings is not None and index < len(standings):
                ask.standing = standings[index]
            self._answer(ask, ask.want if granted is None else granted[index])

    def _answer(self, ask: Ask, amount: int) -> None:
        if amount < 0:
            self.open.discard(ask.id)
        if not ask.reply.done():
            ask.reply.set_result(amount)
        elif amount >= 0:
            self._release(ask, "client_closed_request")

    def _release(self, ask: Ask, error: str) -> None:
        hold = Hold(ask.id, ask.account_id, 0, ask.tokens is not None)
        self.settle(Settlement(hold, Status.RELEASED, error=error))

    def _lost(self, settlements: list[Settlement], asks: list[Ask], error: BaseException) -> None:
        log.warning("database_lost", error=type(error).__name__, settlements=len(settlements), asks=len(asks))
        self._settlements.extendleft(reversed(settlements))
        for ask in asks:
            if isinstance(error, NotSentError):
                self.open.discard(ask.id)
            else:
                self._release(ask, "service_unavailable")
            if not ask.reply.done():
                ask.reply.set_exception(unavailable("The gateway can't reach its database."))
        if self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(RETRY_PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._dispatch()

    async def _isolate(self, lane: Lane, settlements: list[Settlement], asks: list[Ask], error: BaseException) -> None:
        """One row that can't be written must not take its batch along: the rows are sent one by one."""
        if len(settlements) + len(asks) == 1:
            log.error("ledger_row_refused", error=str(error))
            self._give_up(settlements, asks)
            return
        log.warning("ledger_batch_isolated", rows=len(settlements) + len(asks), error=str(error))
        for item in settlements:
            await self._attempt(lane, [item], [])
        for ask in asks:
            await self._attempt(lane, [], [ask])

    def _give_up(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> None:
        """What stays held because of it, the stray sweep gives back; charging something else would be worse."""
        self.open.difference_update([item.hold.id for item in settlements])
        for ask in asks:
            self.open.discard(ask.id)
            if not ask.reply.done():
                ask.reply.set_exception(unavailable("The ledger refused this request."))
