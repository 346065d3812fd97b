"""Outages shared through PostgreSQL: what one process finds out, all others know within milliseconds."""

from __future__ import annotations

import asyncio

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.ledger.sweep import count_instances
from app.logs import get_log
from app.routing.board import Board
from app.routing.outages import Outage, OutageKind, Scope

log = get_log("relaygate.routing")

RETRY_PAUSE = 0.5
SETTLE = 0.02
"""Seconds that a burst of news is gathered for."""

COUNT_INTERVAL = 5.0
"""Seconds between counts of the processes that share the channels' caps."""

# Times travel as seconds from now: processes' clocks may differ, and the database's is the one that counts.
_PUT = text(
    """
    INSERT INTO outages (channel_id, model, key, kind, reason, requested, failures, until)
    SELECT :channel_id, :model, :key, :kind, :reason, :requested, :failures, now() + make_interval(secs => :left)
    WHERE EXISTS (SELECT 1 FROM channels WHERE id = :channel_id)
    ON CONFLICT (channel_id, model, key) DO UPDATE SET
        kind = excluded.kind, reason = excluded.reason, requested = excluded.requested, failures = excluded.failures,
        until = excluded.until, told_at = CASE WHEN outages.kind = excluded.kind THEN outages.told_at END
    """
)
_DROP = text("DELETE FROM outages WHERE channel_id = :channel_id AND model = :model AND key = :key")
_LOAD = text(
    "SELECT channel_id, model, key, kind, reason, requested, failures, "
    "CAST(extract(epoch FROM until - clock_timestamp()) AS float) AS left FROM outages"
)
_FORGET = text("DELETE FROM outages WHERE until < now() - interval '1 day'")


class SharedOutages:
    """Writes what this process's board finds out, and reads what others wrote. Without a database each goes by its own."""

    def __init__(self, engine: AsyncEngine, board: Board) -> None:
        self._engine = engine
        self._board = board
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        board.on_change = self._news.set

    async def start(self) -> None:
        """Returns with what others know already adopted, if the database answers."""
        self._news.set()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._count())]
        await self._exchange_safely()

    async def stop(self) -> None:
        for task in self._tasks:
            await end_task(task)

    def expire(self) -> None:
        """Another process has written, or may have."""
        self._news.set()

    async def _follow(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(SETTLE)
            self._news.clear()
            if not await self._exchange_safely():
                self._news.set()
                await asyncio.sleep(RETRY_PAUSE)

    async def _count(self) -> None:
        while True:
            try:
                self._board.processes = max(1, await count_instances(self._engine))
            except DATABASE_ERRORS as error:
                log.warning("processes_not_counted", error=type(error).__name__)
            await asyncio.sleep(COUNT_INTERVAL)

    async def _exchange_safely(self) -> bool:
        try:
            await self._exchange()
        except DATABASE_ERRORS as error:
            log.warning("outages_not_shared", error=type(error).__name__)
            return False
        return True

    async def _exchange(self) -> None:
        board = self._board
        changes = dict(board.changes)
        if changes:
            async with self._engine.begin() as connection:
                for scope, outage in changes.items():
                    await _write(connection, scope, outage, board.clock())
            for scope, outage in changes.items():
                if board.changes.get(scope, ...) is outage:  # not changed again meanwhile
                    del board.changes[scope]
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_LOAD)).mappings().all()
        now = board.clock()
        board.adopt({scope: outage for row in rows for scope, outage in [_read(row, now)]})


async def _write(connection: AsyncConnection, scope: Scope, outage: Outage | None, now: float) -> None:
    if outage is None:
        await connection.execute(_DROP, scope._asdict())
        return
    try:
        async with connection.begin_nested():
            await connection.execute(
                _PUT,
                {
                    **scope._asdict(),
                    "kind": outage.kind.value,
                    "reason": outage.reason,
                    "requested": outage.requested,
                    "failures": outage.failures,
                    "left": outage.until - now,
                },
            )
    except IntegrityError:
        log.info("outage_of_no_channel", channel_id=scope.channel_id)  # deleted in this very moment


def _read(row: RowMapping, now: float) -> tuple[Scope, Outage]:
    scope = Scope(row["channel_id"], row["model"], row["key"])
    until = now + row["left"]
    outage = Outage(OutageKind(row["kind"]), row["reason"], row["failures"], until, row["requested"], made=now)
    return scope, outage


async def prune_outages(connection: AsyncConnection) -> None:
    """Forgets what nobody has tried for long."""
    await connection.execute(_FORGET)
