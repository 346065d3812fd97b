"""kill -9 of a gateway full of open streams: its holds are resolved within the lease, each exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.system.load import BODY

STREAMS = 200
LEASE = 4.0


@pytest.mark.long
async def test_kill_9_with_200_open_streams(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    gateway = start_gateway(RELAYGATE_LEASE=str(LEASE))
    survivor = start_gateway(gateway.database_url, RELAYGATE_LEASE=str(LEASE))
    operator = Operator(survivor, demo.url)
    model = operator.model("demo?chunks=400&chunk_ms=50")
    customer = operator.customer()
    body = {"model": model, "stream": True, **BODY}
    url = f"{gateway.base_url}/chat/completions"

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(
            *(session.post(url, json=body, headers=customer.headers) for _ in range(STREAMS))
        )
        first_chunks = await asyncio.gather(*(answer.content.readany() for answer in answers))
        assert all(chunk.startswith(b"data: ") for chunk in first_chunks)
        assert operator.audit()["open_holds"] == STREAMS
        gateway.kill()
        killed = time.monotonic()
        for answer in answers:
            answer.close()

    while operator.audit()["open_holds"]:
        assert time.monotonic() - killed < LEASE, "holds are left after the lease"
        await asyncio.sleep(0.1)
    entries = operator.entries(customer, count=STREAMS)
    assert {(entry["status"], entry["error"]) for entry in entries} == {("orphaned", "process_died")}
    assert len({entry["request_id"] for entry in entries}) == STREAMS
    assert all(entry["estimated"] and float(entry["charged"]) > 0 for entry in entries)
    audit = operator.audit()
    assert audit["ok"] is True
    assert audit["drift_nano"] == 0
    operator.close()


async def test_settled_requests_survive_kill_9(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    """What a client has seen answered is charged in full or resolved as an orphan, never lost, never charged twice."""
    gateway = start_gateway(RELAYGATE_LEASE=str(LEASE))
    operator = Operator(gateway, demo.url)
    model = operator.model("demo")
    customer = operator.customer()
    answered = 0

    async def keep_calling(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        body = {"model": model, **BODY}
        while True:
            async with session.post(
                f"{gateway.base_url}/chat/completions", json=body, headers=customer.headers
            ) as answer:
                answered += answer.status == 200
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        callers = [asyncio.create_task(keep_calling(session)) for _ in range(32)]
        while answered < 300:
            await asyncio.sleep(0.01)
        gateway.kill()
        ended = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientError) for error in ended)

    gateway.start()
    operator.close()
    operator = Operator(gateway, demo.url)
    entries_total = 0
    deadline = time.monotonic() + LEASE + 5
    while (audit := operator.audit())["open_holds"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    entries_total = audit["entries"]
    assert answered <= entries_total <= answered + 32
    assert audit["ok"] is True
    operator.close()
