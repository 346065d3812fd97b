"""What operators are told of channels that are out, and that a process that stops takes no alert along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import orjson
import pytest
from aiohttp import web

from app.db.engine import Database
from app.routing.alerts import Alerts

SECRET = "alert-secret-0123456789"


class Receiver:
    """Takes alerts; while `holding` it answers none."""

    def __init__(self) -> None:
        self.url = ""
        self.came: asyncio.Queue[tuple[str, dict[str, object]]] = asyncio.Queue()
        self.holding = False

    async def take(self, request: web.Request) -> web.Response:
        self.came.put_nowait((request.headers["webhook-signature"], orjson.loads(await request.read())))
        if self.holding:
            await asyncio.Event().wait()
        return web.Response()

    async def next(self) -> tuple[str, dict[str, object]]:
        async with asyncio.timeout(10):
            return await self.came.get()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


async def test_what_was_not_told_at_the_stop_is_told_by_the_next(
    migrated_database: Callable[[], str], receiver: Receiver
) -> None:
    url = migrated_database()
    database, connection = Database(url, pool_size=1), await asyncpg.connect(url)
    try:
        channel = await connection.fetchval(
            "INSERT INTO channels (name, provider, base_url, secret, priority, weight, enabled, options) "
            "VALUES ('main', 'openai', 'https://x', '', 0, 1, true, '{}') RETURNING id"
        )
        await connection.execute(
            "INSERT INTO outages (channel_id, model, key, kind, reason, until) "
            "SELECT $1, model, -1, 'refused', 'upstream_refused_credentials', now() FROM unnest('{a,b,c}'::text[]) model",
            channel,
        )
        receiver.holding = True
        stopped = Alerts(database.engine, receiver.url, SECRET)
        stopped.start()
        await receiver.next()
        await stopped.stop()
        receiver.holding = False
        other = Alerts(database.engine, receiver.url, SECRET)
        other.start()
        told = [await receiver.next() for _ in range(3)]
        async with asyncio.timeout(10):
            while await connection.fetchval("SELECT count(*) FROM outages WHERE told_at IS NULL"):
                await asyncio.sleep(0.01)
        await other.stop()
    finally:
        await connection.close()
        await database.close()
    assert {body["data"]["model"] for _, body in told} == {"a", "b", "c"}  # type: ignore[index]
    assert all(signature.startswith("v1,") for signature, _ in told)
    assert receiver.came.empty()
