"""PostgreSQL away for seconds under load: 503s, streams that finish, a settlement that catches up."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from app.db.embedded import EmbeddedPostgres
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.system.load import BODY, Outcome, call, call_many


@pytest.mark.parametrize("outage", [2.0, pytest.param(10.0, marks=pytest.mark.long)])
async def test_postgres_stopped_under_load(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, outage: float
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="relaygate-outage-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder)
    gateway = start_gateway(server.start())
    operator = Operator(gateway, demo.url)
    longer = (outage + 2) * 1000 / 60
    plain, slow = operator.model("demo"), operator.model(f"demo?chunks=60&chunk_ms={longer:.0f}")
    customer = operator.customer()
    seen: Counter[tuple[int, str | None]] = Counter()
    stop = asyncio.Event()

    async def keep_calling(session: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            outcome = await call(session, gateway, customer, plain)
            seen[outcome.status, outcome.code] += 1
            if outcome.status != 200:
                await asyncio.sleep(0.05)

    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            streams = [asyncio.create_task(call(session, gateway, customer, slow, stream=True)) for _ in range(20)]
            callers = [asyncio.create_task(keep_calling(session)) for _ in range(8)]
            while operator.audit()["open_holds"] < 20 or seen[200, None] < 50:
                await asyncio.sleep(0.05)
            before = seen[200, None]
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(outage)
            during = Counter(seen)
            await asyncio.to_thread(server.start)
            finished = await asyncio.gather(*streams)
            await _until_served(session, gateway, operator, customer, plain)
            stop.set()
            await asyncio.gather(*callers)
        assert before > 0
        assert set(during) <= {(200, None), (503, "service_unavailable")}, during
        assert during[503, "service_unavailable"] > 0
        assert set(seen) <= {(200, None), (503, "service_unavailable")}, seen
        assert set(finished) == {Outcome(200, None, complete=True)}
        settled = operator.entries(customer, timeout=30, model=slow, count=20)
        assert [entry["status"] for entry in settled] == ["settled"] * 20
        assert {entry["usage"]["output_tokens"] for entry in settled} == {60}
        audit = operator.audit()
        assert (audit["ok"], audit["open_holds"], audit["drift_nano"]) == (True, 0, 0)
    finally:
        operator.close()
        gateway.stop()
        server.stop()


async def _until_served(
    session: aiohttp.ClientSession, gateway: Gateway, operator: Operator, customer: object, model: str
) -> None:
    deadline = time.monotonic() + 15
    while (await call(session, gateway, customer, model)).status != 200:  # type: ignore[arg-type]
        assert time.monotonic() < deadline, "the gateway doesn't recover"
        await asyncio.sleep(0.1)


async def test_slow_streams_hold_no_database_connection(gateway: Gateway, operator: Operator) -> None:
    """128 streams flow: no session of the gateway is in a transaction or busy, and none was added for them."""
    model = operator.model("demo?chunks=40&chunk_ms=50")
    customer = operator.customer()
    await call_many([gateway], customer, operator.model("demo"), 128)  # opens whatever the gateway opens at all
    connection = await asyncpg.connect(gateway.database_url)
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    before = await connection.fetchval(count)
    body = {"model": model, "stream": True, **BODY}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        url = f"{gateway.base_url}/chat/completions"
        answers = await asyncio.gather(*(session.post(url, json=body, headers=customer.headers) for _ in range(128)))
        await asyncio.gather(*(answer.content.readany() for answer in answers))
        # Every hold is open and every stream flows, so whatever the database is asked for now isn't theirs.
        busy = []
        for _ in range(50):
            busy.append(await connection.fetchval(f"{count} AND state <> 'idle' AND query NOT LIKE 'SELECT 1%'"))
            await asyncio.sleep(0.02)
        during = await connection.fetchval(count)
        held = await connection.fetchval("SELECT count(*) FROM holds WHERE account_id = $1", customer.account_id)
        texts = await asyncio.gather(*(answer.read() for answer in answers))
    await connection.close()
    assert held == 128
    assert during <= before
    assert busy.count(0) >= 40, busy  # the heartbeat and the counting of processes may be caught in the act
    assert all(text.endswith(b"data: [DONE]\n\n") for text in texts)
    operator.entries(customer, count=256)
