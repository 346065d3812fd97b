"""Authentication without a database: nobody is told that a key is wrong, and nobody is believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx2

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator


async def _execute(database_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def _shut(gateway: Gateway) -> Iterator[None]:
    """PostgreSQL lets nobody into the gateway's database, and throws out who is in."""
    head, _, query = gateway.database_url.partition("?")
    name = head.rpartition("/")[2]
    office = f"{head.rpartition('/')[0]}/postgres?{query}"
    throw_out = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    asyncio.run(_execute(office, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', throw_out))
    try:
        yield
    finally:
        asyncio.run(_execute(office, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))


def test_authentication_without_a_database(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    gateway = start_gateway()
    operator = Operator(gateway, demo.url)
    known, free, revoked = operator.customer(), operator.model("demo", free=True), operator.customer()
    operator.call("DELETE", f"/keys/{revoked.key_id}")
    operator.close()
    body = {"model": free, "messages": [{"role": "user", "content": "Hi"}]}
    keys = {"known": known.key, "revoked": revoked.key, "never seen": "sk-" + "a" * 43}

    def ask(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=30).status_code

    def ask_admin(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return httpx2.get(f"{gateway.url}/admin/v1/accounts", headers=headers, timeout=30).status_code

    def await_status(status: int) -> None:
        deadline = time.monotonic() + 15
        while ask(keys["known"]) != status:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    await_status(200)
    with _shut(gateway):
        assert {name: ask(key) for name, key in keys.items()} == dict.fromkeys(keys, 503)
        assert ask_admin("rga-never-seen") == 503
    await_status(200)
    assert [ask(keys["revoked"]), ask(keys["never seen"]), ask_admin("rga-never-seen")] == [401, 401, 401]
