"""A migrated database as the ledger's tests see it: customers with money, asks for it, and what the rows say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.core.ids import new_id
from app.core.usage import Usage
from app.db.engine import Database
from app.db.migrate import migrate
from app.ledger.audit import Audit, audit
from app.ledger.issue import issue_account, issue_key
from app.ledger.records import Ask, Hold, Refusal, Settlement, Status
from app.ledger.wallets import Wallet, account_wallets, add_grant, key_wallets, set_quota
from app.ledger.writer import LANES, LedgerWriter

PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Customer:
    """One key of an account."""

    account_id: int
    key_id: int


class Bank:
    """One database, with everything that a test of the ledger does to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)
        self.engine = self.database.engine
        self._writers: list[LedgerWriter] = []
        self._databases: list[Database] = [self.database]
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    def writer(self, *, lanes: int = LANES, url: str | None = None) -> LedgerWriter:
        """A gateway process's worth of ledger: connections and an owner of its own."""
        database = Database(url or self.url)
        writer = LedgerWriter(database, uuid4(), lanes=lanes)
        self._databases.append(database)
        self._writers.append(writer)
        return writer

    async def close_writers(self) -> None:
        """Every settlement made durable, every connection closed."""
        writers, self._writers = self._writers, []
        for writer in writers:
            assert await writer.flush(PATIENCE)
            await writer.close()

    async def close(self) -> None:
        await self.close_writers()
        for database in self._databases:
            await database.close()
        if self._pool is not None:
            await self._pool.close()

    # -- customers -----------------------------------------------------------------------------------------------

    async def customer(self, granted: int = 0, quota: int | None = None) -> Customer:
        """A new account with that much money and one key."""
        async with self.engine.begin() as connection:
            account = await issue_account(connection, {"name": "test"}, granted or None)
        return await self.key(account.id, quota)

    async def key(self, account_id: int, quota: int | None = None) -> Customer:
        """One more key of an account."""
        async with self.engine.begin() as connection:
            key, _ = await issue_key(connection, {"account_id": account_id, "name": "test"}, quota)
        return Customer(account_id, key.id)

    async def grant(self, customer: Customer, amount: int, idempotency_key: str | None = None) -> int:
        """Books a grant; returns its id."""
        async with self.engine.begin() as connection:
            grant = await add_grant(connection, customer.account_id, amount, idempotency_key=idempotency_key)
        return grant.id

    async def set_quota(self, customer: Customer, quota: int | None) -> None:
        async with self.engine.begin() as connection:
            await set_quota(connection, customer.account_id, customer.key_id, quota)

    # -- what the rows say ---------------------------------------------------------------------------------------

    async def account(self, customer: Customer) -> Wallet:
        """The account's counters."""
        async with self.engine.connect() as connection:
            return (await account_wallets(connection, [customer.account_id]))[customer.account_id]

    async def key_wallet(self, customer: Customer) -> Wallet:
        """The key's counters."""
        async with self.engine.connect() as connection:
            return (await key_wallets(connection, [customer.key_id]))[customer.key_id]

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Rows of a query of the test's own, over connections of its own."""
        async with self._opening:
            if self._pool is None:
                # Writable even where the test has made the database read-only for everyone else.
                settings = {"default_transaction_read_only": "off"}
                self._pool = await asyncpg.create_pool(self.url, min_size=1, max_size=4, server_settings=settings)
        return list(await self._pool.fetch(query, *values))

    async def entries(self, customer: Customer) -> list[asyncpg.Record]:
        """The account's entries, in the order in which their holds were made."""
        query = "SELECT * FROM entries WHERE account_id = $1 ORDER BY created_at, id"
        return await self.fetch(query, customer.account_id)

    async def holds(self, customer: Customer) -> dict[UUID, int]:
        """The account's open holds: amounts by id."""
        rows = await self.fetch("SELECT id, amount FROM holds WHERE account_id = $1", customer.account_id)
        return {row["id"]: row["amount"] for row in rows}

    async def audit(self) -> Audit:
        return await audit(self.engine)

    # -- faults --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lock(self, customer: Customer) -> AsyncIterator[asyncpg.Connection]:
        """While the block runs, no batch that needs this account gets on."""
        connection = await asyncpg.connect(self.url)
        try:
            async with connection.transaction():
                query = "SELECT 1 FROM account_balances WHERE account_id = $1 FOR UPDATE"
                await connection.execute(query, customer.account_id)
                yield connection
        finally:
            await connection.close()

    async def waiting(self, count: int) -> Sequence[int]:
        """The process ids of the writers' connections, as soon as `count` of them wait for a lock."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
            "AND application_name = 'relaygate' AND query LIKE '%ledger_batch%'"
        )
        pids: list[int] = []

        async def enough() -> bool:
            pids[:] = [row["pid"] for row in await self.fetch(query)]
            return len(pids) >= count

        await eventually(enough)
        return pids

    async def gone(self, pids: Sequence[int]) -> None:
        """Returns once these backends have ended by themselves."""

        async def ended() -> bool:
            return not await self.fetch("SELECT 1 FROM pg_stat_activity WHERE pid = ANY ($1::int[])", pids)

        await eventually(ended)

    async def terminate(self, pids: Sequence[int]) -> None:
        """Ends backends, as an administrator or a failover does; returns once they are gone."""
        ended = await self.fetch("SELECT pg_terminate_backend(pid, 5000) AS gone FROM unnest($1::int[]) AS pid", pids)
        assert all(row["gone"] for row in ended)


async def migrated(url: str) -> str:
    """Brings an empty database to the newest schema; nobody is connected to it afterwards."""
    database = Database(url)
    await migrate(database.engine)
    await database.close()
    return url


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the condition holds: for what PostgreSQL tells when asked, and announces with no event."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def make_ask(customer: Customer, want: int, minimum: int | None = None, **fields: Any) -> Ask:
    """An ask for `want` nano-dollars, all of it unless a minimum is named."""
    values = {
        "account_id": customer.account_id,
        "key_id": customer.key_id,
        "id": new_id(),
        "request_id": new_id(),
        "want": want,
        "minimum": want if minimum is None else minimum,
        "orphan_charge": 0,
        "input_tokens": 10,
        "model": "m",
        "format": "openai_chat",
        "stream": False,
        "price_id": 1,
        "ratio_ppm": 1_000_000,
        "group_ppm": 1_000_000,
        "tokens": None,
        "patient": False,
        "reply": asyncio.get_running_loop().create_future(),
    }
    return Ask(**{**values, **fields})


async def hold(writer: LedgerWriter, customer: Customer, want: int, minimum: int | None = None, **fields: Any) -> Hold:
    """A hold that has to be granted."""
    held = await writer.hold(make_ask(customer, want, minimum, **fields))
    assert isinstance(held, Hold), held
    return held


async def hold_together(writer: LedgerWriter, asks: Sequence[Ask]) -> list[Hold | Refusal]:
    """Asks that become ready in one turn of the loop, in this order; up to MAX_BATCH share a batch."""
    return await asyncio.gather(*(writer.hold(ask) for ask in asks))


def settled(held: Hold, cost: int, **fields: Any) -> Settlement:
    """How a hold ends when it cost that much."""
    return Settlement(held, Status.SETTLED, charge=cost, usage=Usage(input_tokens=3, output_tokens=4), **fields)


def released(held: Hold) -> Settlement:
    """How a hold ends that cost nothing."""
    return Settlement(held, Status.RELEASED)


async def settle(writer: LedgerWriter, *settlements: Settlement) -> None:
    """Settles in one batch (up to MAX_BATCH) and waits until it is durable."""
    for settlement in settlements:
        writer.settle(settlement)
    assert await writer.flush(PATIENCE)


def amounts(replies: Sequence[Hold | Refusal]) -> list[int | Refusal]:
    """What each ask got: nano-dollars, or why nothing."""
    return [reply.amount if isinstance(reply, Hold) else reply for reply in replies]


def counters(wallet: Wallet) -> tuple[int | None, int | None, int, int]:
    """Granted, balance, held, charged."""
    return wallet.granted, wallet.balance, wallet.held, wallet.charged
