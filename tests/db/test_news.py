"""News of changes: what is announced, and how soon a listener knows that it may have missed something."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from app.db.engine import Database
from app.db.news import PULSE, STALE_AFTER, News
from tests.ledger.bank import eventually, migrated
from tests.ledger.proxy import Proxy

GAP = ("gap", "")


@pytest.fixture(scope="module")
def url(new_database: Callable[[], str]) -> str:
    return asyncio.run(migrated(new_database()))


@pytest.fixture(scope="module")
async def writer(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection, on which changes are made."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def proxy(url: str, work_dir: Path) -> AsyncIterator[Proxy]:
    async with Proxy(url, work_dir / uuid4().hex[:8]) as running:
        yield running


class Reader:
    """Hears news into a queue; a gap is one of them."""

    def __init__(self, url: str) -> None:
        self.heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.database = Database(url)
        self.news = News(self.database, lambda *item: self.heard.put_nowait(item), lambda: self.heard.put_nowait(GAP))

    async def next(self) -> tuple[str, str]:
        return await asyncio.wait_for(self.heard.get(), 5)

    def fresh(self) -> bool:
        return self.news.fresh

    async def until_fresh(self, fresh: bool) -> None:
        async def turned() -> bool:
            return self.news.fresh is fresh

        await eventually(turned)

    async def close(self) -> None:
        await self.news.stop()
        await self.database.close()


@pytest.fixture
async def open_reader() -> AsyncIterator[Callable[[str], Reader]]:
    readers: list[Reader] = []

    def make(url: str) -> Reader:
        readers.append(Reader(url))
        return readers[-1]

    yield make
    for reader in readers:
        await reader.close()


@pytest.fixture
async def reader(url: str, open_reader: Callable[[str], Reader]) -> Reader:
    """One that listens already."""
    made = open_reader(url)
    await made.news.start()
    assert await made.next() == GAP
    return made


async def test_it_stays_fresh_while_it_is_connected(url: str, open_reader: Callable[[str], Reader]) -> None:
    reader = open_reader(url)
    assert not reader.fresh()
    await reader.news.start()
    assert await reader.next() == GAP, "whatever was cached before is from before"
    until = time.monotonic() + STALE_AFTER + PULSE
    while time.monotonic() < until:
        assert reader.fresh()
        await asyncio.sleep(0.02)
    assert reader.heard.empty()
    await reader.news.stop()
    assert await listeners(url) == []


async def listeners(url: str) -> list[int]:
    """The backends of all readers; connections of ours that listen have their application's name."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'relaygate'"
        )
        return [row["pid"] for row in rows]
    finally:
        await connection.close()


ACCOUNT = "INSERT INTO accounts (name) VALUES ('a') RETURNING id"
KEY = "INSERT INTO keys (account_id, name, digest, hint) VALUES ($1, 'k', sha256($2), 'h') RETURNING id"


async def test_changes_of_keys_and_accounts_are_announced_by_id(reader: Reader, writer: asyncpg.Connection) -> None:
    account = await writer.fetchval(ACCOUNT)
    key = await writer.fetchval(KEY, account, uuid4().bytes)
    assert await reader.next() == ("key", str(key))
    await writer.execute("UPDATE keys SET enabled = false WHERE id = $1", key)
    assert await reader.next() == ("key", str(key))
    await writer.execute("UPDATE accounts SET price_ratio = 2 WHERE id = $1", account)
    assert await reader.next() == ("account", str(account))
    await writer.execute("DELETE FROM keys WHERE id = $1", key)
    assert await reader.next() == ("key", str(key))
    await writer.execute("DELETE FROM accounts WHERE id = $1", account)
    assert await reader.next() == ("account", str(account))


CHANNEL = "INSERT INTO channels (name, provider, base_url, secret) VALUES ('c', 'p', 'u', 's')"


@pytest.mark.parametrize(
    "statements",
    [
        (CHANNEL, "UPDATE channels SET enabled = false", "TRUNCATE channels CASCADE"),
        (
            f"{CHANNEL}",
            "INSERT INTO channel_models SELECT id, 'm', 'u' FROM channels",
            "UPDATE channel_models SET upstream_model = 'v'",
            "DELETE FROM channel_models",
            "TRUNCATE channel_models",
            "TRUNCATE channels CASCADE",
        ),
        (
            "INSERT INTO models (name) VALUES ('m')",
            "UPDATE models SET free = true",
            "INSERT INTO aliases (alias, model) VALUES ('a', 'm')",
            "UPDATE aliases SET alias = 'b'",
            "DELETE FROM aliases",
            "TRUNCATE aliases",
            "DELETE FROM models",
            "TRUNCATE models CASCADE",
        ),
    ],
)
async def test_changes_of_the_catalogue_are_announced(
    reader: Reader, writer: asyncpg.Connection, statements: tuple[str, ...]
) -> None:
    for statement in statements:
        await writer.execute(statement)
        assert await reader.next() == ("catalog", ""), statement


async def test_a_channel_that_goes_takes_its_outages_along(reader: Reader, writer: asyncpg.Connection) -> None:
    await writer.execute(CHANNEL)
    assert await reader.next() == ("catalog", "")
    await writer.execute("DELETE FROM channels")
    assert {await reader.next(), await reader.next()} == {("catalog", ""), ("outages", "")}


async def test_money_that_moves_is_no_news(reader: Reader, writer: asyncpg.Connection) -> None:
    """Every request moves some: a notification each would be a write each."""
    account = await writer.fetchval(ACCOUNT)
    await writer.execute("INSERT INTO account_balances (account_id) VALUES ($1)", account)
    await writer.execute("UPDATE account_balances SET granted = 5, balance = 5 WHERE account_id = $1", account)
    await writer.execute("INSERT INTO prices (model, body) VALUES ('m', '{}')")
    await writer.execute("NOTIFY relaygate, 'last:one'")
    assert await reader.next() == ("last", "one")


@pytest.mark.parametrize("statement", ["UPDATE prices SET model = 'n'", "DELETE FROM prices"])
async def test_prices_are_frozen(writer: asyncpg.Connection, statement: str) -> None:
    await writer.execute("INSERT INTO prices (model, body) VALUES ('m', '{}')")
    with pytest.raises(asyncpg.RaiseError, match="a price row never changes"):
        await writer.execute(statement)


async def test_what_is_rolled_back_is_no_news(reader: Reader, writer: asyncpg.Connection) -> None:
    transaction = writer.transaction()
    await transaction.start()
    await writer.fetchval("INSERT INTO models (name) VALUES ('never')")
    await transaction.rollback()
    await writer.execute("NOTIFY relaygate, 'last:one'")
    assert await reader.next() == ("last", "one")


async def test_a_listener_that_is_terminated(url: str, reader: Reader, writer: asyncpg.Connection) -> None:
    (pid,) = await listeners(url)
    killed = time.monotonic()
    assert await writer.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    await writer.execute("NOTIFY relaygate, 'missed:one'")
    await reader.until_fresh(False)
    assert time.monotonic() - killed < 1.0
    assert await reader.next() == GAP
    await reader.until_fresh(True)
    await writer.execute("NOTIFY relaygate, 'heard:again'")
    assert await reader.next() == ("heard", "again")
    assert reader.heard.empty(), "the missed one isn't made up for: the gap is"


async def test_a_connection_that_falls_silent(
    proxy: Proxy, open_reader: Callable[[str], Reader], writer: asyncpg.Connection
) -> None:
    """Nobody is told that it died; and yet no revocation goes unheard for a second."""
    reader = open_reader(proxy.url)
    await reader.news.start()
    assert await reader.next() == GAP
    for _ in range(2):
        # At any moment between two signs of life; the worst is right after one.
        await asyncio.sleep(PULSE / 2)
        proxy.freeze()
        await writer.execute("NOTIFY relaygate, 'key:1'")
        revoked = time.monotonic()
        assert reader.fresh()
        await reader.until_fresh(False)
        assert time.monotonic() - revoked < 1.0
        assert reader.heard.empty()
        proxy.cut()
        proxy.resume()
        assert await reader.next() == GAP
        await reader.until_fresh(True)


async def test_a_database_that_only_comes_later(url: str, work_dir: Path, open_reader: Callable[[str], Reader]) -> None:
    later = Proxy(url, work_dir / uuid4().hex[:8])
    reader = open_reader(later.url)
    starting = asyncio.create_task(reader.news.start())
    await asyncio.sleep(PULSE * 1.5)  # at least one attempt fails
    assert not reader.fresh()
    assert not starting.done()
    async with later:
        await asyncio.wait_for(starting, 5)
        assert reader.fresh()
        assert await reader.next() == GAP
