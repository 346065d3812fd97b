"""Months of entries: made ahead of time, filled with what fell into the default partition, dropped when they are too old.

An id is a UUID version 7, so a month is a range of ids (`migrations/sql/0001_partitions.sql`). Nothing here may hold up a
settlement: every lock that one would have to wait for is asked for with a short patience and kept for a moment.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.ledger.entries import first_id
from app.logs import get_log

log = get_log("relaygate.partitions")

AHEAD = 3
"""Months made before they begin: that long may no worker run before entries fall into the default partition."""

_BEHIND = 24
"""Months back for which a partition is still made: an id from further back is a clock gone wrong."""

_PATIENCE = "200ms"
_TRIES = 10
_PAUSE = 1.0

_ONE_AT_A_TIME = text("SELECT pg_try_advisory_xact_lock(7236835422)")
_LOCK_REFUSED = "55P03"  # lock_not_available, https://www.postgresql.org/docs/current/errcodes-appendix.html
_NAME = re.compile(r"entries_(\d{4})_(\d{2})")

_ROLL_UP = """
    INSERT INTO entry_totals AS t (account_id, key_id, entries, charged, uncollected)
    SELECT account_id, key_id, count(*), sum(charged), sum(uncollected) FROM {source} GROUP BY 1, 2
    ON CONFLICT (account_id, key_id) DO UPDATE
    SET entries = t.entries + EXCLUDED.entries, charged = t.charged + EXCLUDED.charged,
        uncollected = t.uncollected + EXCLUDED.uncollected
"""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC."""

    year: int
    number: int

    @property
    def partition(self) -> str:
        return f"entries_{self.year:04}_{self.number:02}"

    @property
    def first_id(self) -> UUID:
        """The lowest id of the month."""
        return first_id(datetime(self.year, self.number, 1, tzinfo=UTC))

    def plus(self, months: int) -> Month:
        years, number = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(years, number + 1)


@dataclass(frozen=True, slots=True)
class Tended:
    """What was done: the months that were made and dropped, and how many entries were moved out of the default partition."""

    made: tuple[Month, ...] = ()
    moved: int = 0
    dropped: tuple[Month, ...] = ()


async def tend_partitions(engine: AsyncEngine, keep_months: int | None) -> Tended:
    """Makes the months that are missing, and drops those whose entries are all older than `keep_months` (None: none).

    Any number of processes may do this at once. What can't be locked now is left for the next time. Raises what the
    database raises.
    """
    async with engine.connect() as connection:
        today: datetime = (await connection.execute(text("SELECT now() AT TIME ZONE 'UTC'"))).scalar_one()
        found = await _list(connection)
        strays = await _months_in_default(connection)
    now = Month(today.year, today.month)
    oldest = now.plus(-_BEHIND if keep_months is None else -min(keep_months, _BEHIND))
    wanted = {now.plus(months) for months in range(AHEAD + 1)}
    wanted |= {month for month in strays if oldest <= month <= now.plus(AHEAD)}
    made, moved = [], 0
    for month in sorted(wanted - found):
        count = await _make(engine, month)
        if count is not None:
            made.append(month)
            moved += count
    dropped = []
    if keep_months is not None:
        # A month ends when the next one begins: its last entry is then `keep_months` old.
        edge = now.plus(-keep_months)
        dropped = [month for month in sorted(found) if month < edge and await _drop(engine, month)]
        await _drop_strays(engine, edge)
    return Tended(tuple(made), moved, tuple(dropped))


async def _list(connection: AsyncConnection) -> set[Month]:
    query = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'entries'::regclass")
    names = [_NAME.fullmatch(name) for name in (await connection.execute(query)).scalars()]
    return {Month(int(name[1]), int(name[2])) for name in names if name is not None}


async def _months_in_default(connection: AsyncConnection) -> set[Month]:
    # The first twelve hex digits are milliseconds: 65,536 of them, about a minute, share the first eight.
    query = text("SELECT DISTINCT left(id::text, 8) FROM entries_default")
    found = set()
    for digits in (await connection.execute(query)).scalars():
        seconds = (int(digits, 16) << 16) / 1000
        for edge in (seconds, seconds + 65.535):  # the minute may lie in two months
            if edge < _YEAR_9999:
                moment = datetime.fromtimestamp(edge, UTC)
                found.add(Month(moment.year, moment.month))
    return found


_YEAR_9999 = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


async def _make(engine: AsyncEngine, month: Month) -> int | None:
    """Makes a month, and moves into it what is in the default partition; how much that was. None: another time.

    Writers are kept out meanwhile, a few milliseconds unless there is much to move: one that had chosen the default
    partition for its row just before would find that the row doesn't belong there any more, and fail.
    """
    try:
        async with engine.begin() as connection:
            if not await _alone(connection) or month in await _list(connection):
                return None
            name, low, high = month.partition, month.first_id, month.plus(1).first_id
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
            await connection.execute(text("LOCK TABLE ONLY entries IN SHARE MODE"))
            await connection.execute(text("LOCK TABLE entries_default IN ACCESS EXCLUSIVE MODE"))
            await connection.execute(text(f"CREATE TABLE {name} (LIKE entries INCLUDING ALL)"))
            # Names and ids are made of numbers, and DDL takes no parameters.
            moved = await connection.execute(
                text(
                    f"WITH gone AS (DELETE FROM entries_default WHERE id >= '{low}' AND id < '{high}' RETURNING *) "  # noqa: S608
                    f"INSERT INTO {name} SELECT * FROM gone"
                )
            )
            bounds = f"FROM ('{low}') TO ('{high}')"
            await connection.execute(text(f"ALTER TABLE entries ATTACH PARTITION {name} FOR VALUES {bounds}"))
    except DBAPIError as error:
        _pass_over(error, month)
        return None
    log.info("partition_made", partition=month.partition, moved=moved.rowcount)
    return int(moved.rowcount)


async def _drop(engine: AsyncEngine, month: Month) -> bool:
    """Adds a month's entries to `entry_totals` and drops it, in one transaction. False: another time.

    The sums take a while, so they are made without a lock; then everybody is kept out for a moment, to make sure that
    nothing came in since. An entry can only come from a hold of the same id: one that was open before the sums shows in
    `holds`, and one that was made later leaves an entry whose time is later, whatever its id says.
    """
    name, low, high = month.partition, month.first_id, month.plus(1).first_id
    holds = text("SELECT EXISTS (SELECT FROM holds WHERE id >= :low AND id < :high)")
    await _summarize(engine, name)
    async with engine.connect() as connection:
        if not await _alone(connection) or (await connection.execute(holds, {"low": low, "high": high})).scalar_one():
            return False
        rows = (await connection.execute(text(_ROLL_UP.format(source=name)))).rowcount
        for _ in range(_TRIES):
            try:
                async with connection.begin_nested():
                    if not await _drop_unchanged(connection, name):
                        log.warning("partition_in_use", partition=name)
                        return False
                await connection.commit()
                log.info("partition_dropped", partition=name, keys=rows)
                return True
            except DBAPIError as error:
                _pass_over(error, month)
            await asyncio.sleep(_PAUSE)
    return False


async def _drop_unchanged(connection: AsyncConnection, name: str) -> bool:
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
    await connection.execute(text("LOCK TABLE ONLY entries IN ACCESS EXCLUSIVE MODE"))
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    # A day, for a hold whose transaction began before ours and hadn't ended when we looked for holds.
    late = text(f"SELECT EXISTS (SELECT FROM {name} WHERE created_at >= now() - interval '1 day')")  # noqa: S608
    if (await connection.execute(late)).scalar_one():
        return False
    await connection.execute(text(f"DROP TABLE {name}"))
    return True


async def _summarize(engine: AsyncEngine, name: str) -> None:
    """Brings the index by time up to date, so that looking for late entries doesn't take a while."""
    query = text(
        "SELECT brin_summarize_new_values(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am a ON a.oid = c.relam WHERE i.indrelid = CAST(:name AS regclass) AND a.amname = 'brin'"
    )
    async with engine.begin() as connection:
        await connection.execute(query, {"name": name})


async def _drop_strays(engine: AsyncEngine, edge: Month) -> None:
    """Entries in the default partition that were made before the edge, whatever their ids say."""
    gone = "gone AS (DELETE FROM entries_default WHERE created_at < :edge RETURNING account_id, key_id, charged, uncollected)"
    async with engine.begin() as connection:
        if await _alone(connection):
            query = text(f"WITH {gone} {_ROLL_UP.format(source='gone')}")
            await connection.execute(query, {"edge": datetime(edge.year, edge.number, 1, tzinfo=UTC)})


async def _alone(connection: AsyncConnection) -> bool:
    """Whether no other process is at it; until the transaction ends."""
    return bool((await connection.execute(_ONE_AT_A_TIME)).scalar_one())


def _pass_over(error: DBAPIError, month: Month) -> None:
    if getattr(error.orig, "sqlstate", None) != _LOCK_REFUSED:
        raise error
    log.info("partition_busy", partition=month.partition)
