"""Who a key belongs to: from memory while that may be believed, from the database otherwise, and never a guess."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import event

from app.accounts.principals import Principal, Principals
from app.accounts.secrets import digest_of, new_key
from app.accounts.throttle import Throttle
from app.db.engine import Database
from app.db.news import News
from app.errors import GatewayError
from tests.ledger.bank import eventually, migrated
from tests.ledger.proxy import Proxy


class Desk:
    """Principals with a database and news of their own, as a process has them; counts the look-ups."""

    def __init__(self, url: str, news_url: str | None = None) -> None:
        self.database = Database(url, pool_size=2)
        self._news_database = Database(news_url or url)
        self.principals = Principals(self.database.engine, Throttle(0))
        self.news = News(self._news_database, self._on_news, self.principals.forget_all)
        self.heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.lookups = 0
        event.listen(self.database.engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.lookups += "FROM keys" in statement

    def _on_news(self, kind: str, subject: str) -> None:
        forget = {"key": self.principals.forget_key, "account": self.principals.forget_account}[kind]
        forget(int(subject))
        self.heard.put_nowait((kind, int(subject)))

    async def open(self) -> None:
        await self.news.start()
        self.principals.trust(self.news)

    async def close(self) -> None:
        await self.news.stop()
        await self.database.close()
        await self._news_database.close()

    async def until(self, kind: str, subject: int) -> None:
        """Until this change was heard of."""
        while await asyncio.wait_for(self.heard.get(), 5) != (kind, subject):
            pass


class Registry:
    """Somebody else, who makes and changes accounts and keys."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def account(self, **values: Any) -> int:
        names = {"name": "a", **values}
        return await self._insert("accounts", names)

    async def key(self, account_id: int, secret: str, **values: Any) -> int:
        """Makes this the account's key; returns its id."""
        names = {"account_id": account_id, "name": "k", "digest": digest_of(secret), "hint": "h", **values}
        return await self._insert("keys", names)

    async def _insert(self, table: str, values: dict[str, Any]) -> int:
        places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        query = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING id"
        made: int = await self.connection.fetchval(query, *values.values())
        return made

    async def change(self, statement: str, *values: Any) -> None:
        await self.connection.execute(statement, *values)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """While the block runs, no look-up gets its answer."""
        async with self.connection.transaction():
            await self.connection.execute("LOCK TABLE keys")
            yield


async def issue(desk: Desk, registry: Registry, account_id: int, **values: Any) -> tuple[str, int]:
    """A new key, which the desk has heard of, and its id."""
    secret = new_key()
    number = await registry.key(account_id, secret, **values)
    await desk.until("key", number)
    return secret, number


@pytest.fixture(scope="module")
def url(new_database: Callable[[], str]) -> str:
    return asyncio.run(migrated(new_database()))


@pytest.fixture(scope="module")
async def registry(url: str) -> AsyncIterator[Registry]:
    connection = await asyncpg.connect(url)
    yield Registry(connection)
    await connection.close()


@pytest.fixture
async def desk(url: str) -> AsyncIterator[Desk]:
    made = Desk(url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def proxy(url: str, work_dir: Path) -> AsyncIterator[Proxy]:
    async with Proxy(url, work_dir / uuid4().hex[:8]) as running:
        yield running


@pytest.fixture
async def remote_desk(url: str, proxy: Proxy) -> AsyncIterator[Desk]:
    """One whose look-ups pass through the proxy; its news doesn't."""
    made = Desk(proxy.url, news_url=url)
    await made.open()
    yield made
    await made.close()


async def test_a_principal_as_the_rows_say(desk: Desk, registry: Registry) -> None:
    account = await registry.account(price_ratio=1.25)
    until = datetime(2030, 1, 1, tzinfo=UTC)
    limits: dict[str, Any] = {
        "expires_at": until,
        "models": ["a", "b"],
        "ips": [ip_network("10.0.0.0/8"), ip_network("::1/128")],
    }
    secret, number = await issue(desk, registry, account, **limits)
    assert await desk.principals.find(secret) == Principal(
        key_id=number,
        account_id=account,
        enabled=True,
        expires_at=until.timestamp(),
        models=frozenset({"a", "b"}),
        networks=(ip_network("10.0.0.0/8"), ip_network("::1/128")),
        ratio_ppm=1_250_000,
    )
    plain, number = await issue(desk, registry, account)
    assert await desk.principals.find(plain) == Principal(number, account, True, None, None, None, 1_250_000)


@pytest.mark.parametrize("key", ["", "sk-", "sk-nobody", "\udcff\udcfe", "sk-\0", "x" * 10_000])
async def test_a_key_that_nobody_has(desk: Desk, key: str) -> None:
    assert await desk.principals.find(key) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keys SET enabled = false WHERE account_id = $1",
        "UPDATE accounts SET enabled = false WHERE id = $1",
        "UPDATE keys SET deleted_at = now() WHERE account_id = $1",
        "UPDATE accounts SET deleted_at = now() WHERE id = $1",
        "DELETE FROM keys WHERE account_id = $1",
    ],
)
async def test_a_revoked_key_is_dead_as_soon_as_the_news_is_heard(desk: Desk, registry: Registry, change: str) -> None:
    account = await registry.account()
    secret, number = await issue(desk, registry, account)
    other, _ = await issue(desk, registry, await registry.account())
    assert await desk.principals.find(secret) is not None
    assert await desk.principals.find(other) is not None
    before = desk.lookups
    await registry.change(change, account)
    await desk.until(*(("account", account) if "UPDATE accounts" in change else ("key", number)))
    principal = await desk.principals.find(secret)
    assert principal is None or not principal.is_live(0)
    assert desk.lookups == before + 1
    assert await desk.principals.find(other) is not None
    assert desk.lookups == before + 1, "the others' keys stay in memory"


async def test_a_rotated_key(desk: Desk, registry: Registry) -> None:
    old, number = await issue(desk, registry, await registry.account())
    assert await desk.principals.find(old) is not None
    new = new_key()
    assert await desk.principals.find(new) is None
    await registry.change("UPDATE keys SET digest = $2 WHERE id = $1", number, digest_of(new))
    await desk.until("key", number)
    assert await desk.principals.find(old) is None
    assert await desk.principals.find(new) is not None


async def test_a_known_key_costs_one_look_up(desk: Desk, registry: Registry) -> None:
    secret, _ = await issue(desk, registry, await registry.account())
    found = [await desk.principals.find(secret) for _ in range(50)]
    assert found[0] is not None
    assert all(each is found[0] for each in found)
    assert desk.lookups == 1


async def test_memory_is_not_believed_without_news(desk: Desk, registry: Registry) -> None:
    secret, _ = await issue(desk, registry, await registry.account())
    await desk.principals.find(secret)
    assert await desk.principals.find("sk-unknown") is None
    await desk.news.stop()

    async def stale() -> bool:
        return not desk.news.fresh

    await eventually(stale)
    desk.lookups = 0
    for _ in range(3):
        assert await desk.principals.find(secret) is not None
        assert await desk.principals.find("sk-unknown") is None
    assert desk.lookups == 6


async def test_requests_at_once_share_one_look_up(desk: Desk, registry: Registry) -> None:
    secret, _ = await issue(desk, registry, await registry.account())
    async with registry.locked():
        waiting = [asyncio.create_task(desk.principals.find(secret)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in (waiting[0], waiting[7]):  # the first of them began the look-up
            task.cancel()
        await asyncio.wait({waiting[0], waiting[7]})
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [
        asyncio.CancelledError if number in (0, 7) else Principal for number in range(20)
    ]
    assert desk.lookups == 1


async def test_an_unknown_key_is_remembered_for_a_while(
    desk: Desk, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.accounts.principals.UNKNOWN_TTL", 0.3)
    for _ in range(20):
        assert await desk.principals.find("sk-wrong") is None
    assert desk.lookups == 1
    await asyncio.sleep(0.35)
    assert await desk.principals.find("sk-wrong") is None
    assert desk.lookups == 2


async def test_a_key_that_is_made_after_it_was_asked_for(desk: Desk, registry: Registry) -> None:
    secret = new_key()
    assert await desk.principals.find(secret) is None
    number = await registry.key(await registry.account(), secret)
    await desk.until("key", number)
    principal = await desk.principals.find(secret)
    assert principal is not None
    assert principal.key_id == number


@pytest.mark.parametrize("change", ["enabled = false", "deleted_at = now()"])
async def test_a_change_while_it_is_looked_up_is_not_overlooked(
    remote_desk: Desk, proxy: Proxy, registry: Registry, change: str
) -> None:
    """The answer that was under way is from before the change: good for that request, but not to be kept."""
    desk = remote_desk
    account = await registry.account()
    warm, _ = await issue(desk, registry, account)
    secret, number = await issue(desk, registry, account)
    await desk.principals.find(warm)  # so that the statement is prepared
    proxy.mute_after(digest_of(secret))
    finding = asyncio.create_task(desk.principals.find(secret))
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'relaygate'"
        " AND state = 'idle in transaction' AND query LIKE '%FROM keys%'"
    )

    async def answered() -> bool:
        return bool(await registry.connection.fetchval(query))

    await eventually(answered)
    assert not finding.done()
    await registry.change(f"UPDATE keys SET {change} WHERE id = $1", number)
    await desk.until("key", number)
    proxy.resume()
    principal = await finding
    assert principal is not None
    assert principal.enabled
    principal = await desk.principals.find(secret)
    assert principal is None or not principal.enabled


async def test_a_database_that_is_away_is_no_verdict_on_the_key(url: str, proxy: Proxy, registry: Registry) -> None:
    """ "Too many clients" was once shown to the caller as a 401."""
    desk = Desk(proxy.url)
    await desk.open()
    secret, _ = await issue(desk, registry, await registry.account())
    assert await desk.principals.find(secret) is not None
    await proxy.__aexit__()
    assert desk.news.fresh
    assert await desk.principals.find(secret) is not None, "the news is fresh until it isn't"

    async def stale() -> bool:
        return not desk.news.fresh

    await eventually(stale)
    for key in (secret, new_key()):
        with pytest.raises(GatewayError, match="service_unavailable") as raised:
            await desk.principals.find(key)
        assert raised.value.status == 503
    async with proxy:
        assert await desk.principals.find(secret) is not None
        assert await desk.principals.find("sk-wrong") is None
        await desk.close()


async def test_a_pool_without_a_free_connection_is_no_verdict_on_the_key(
    url: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.engine.CONNECT_TIMEOUT", 0.3)
    desk = Desk(url)
    await desk.open()
    async with desk.database.engine.connect(), desk.database.engine.connect():
        with pytest.raises(GatewayError, match="service_unavailable"):
            await desk.principals.find(new_key())
    await desk.close()


async def test_memory_is_bounded(desk: Desk, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.accounts.principals.MAX_CACHED", 2)
    monkeypatch.setattr("app.accounts.principals.MAX_UNKNOWN", 2)
    account = await registry.account()
    known = [(await issue(desk, registry, account))[0] for _ in range(3)]
    for secrets in (known, ["sk-1", "sk-2", "sk-3"]):
        desk.lookups = 0
        for secret in (*secrets, *secrets[1:]):
            await desk.principals.find(secret)
        assert desk.lookups == 3
        await desk.principals.find(secrets[0])
        assert desk.lookups == 4


def test_what_a_principal_may() -> None:
    anyone = Principal(1, 1, True, None, None, None, 10**6)
    assert anyone.is_live(2**40)
    assert anyone.allows_model("any")
    assert anyone.allows_address(None)
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    bound = Principal(1, 1, True, 1000.0, frozenset({"a"}), networks, 10**6)
    assert [bound.is_live(now) for now in (999.9, 1000.0)] == [True, False]
    assert [bound.allows_model(model) for model in ("a", "b")] == [True, False]
    addresses = [ip_address(text) for text in ("10.1.2.3", "11.1.2.3", "2001:db8::1", "2001:db9::1")]
    assert [bound.allows_address(address) for address in addresses] == [True, False, True, False]
    assert not bound.allows_address(None)
    assert not Principal(1, 1, False, None, None, None, 10**6).is_live(0)
