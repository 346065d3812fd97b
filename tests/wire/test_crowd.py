"""Many clients at once: connections that do nothing, and readers that don't read."""

from __future__ import annotations

import asyncio
import json
import resource
import socket

import aiohttp
import psutil
import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.wire.talk import head


async def _chat(
    session: aiohttp.ClientSession, gateway: Gateway, customer: Customer, model: str, **fields: bool
) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    url = f"{gateway.base_url}/chat/completions"
    async with asyncio.timeout(20), session.post(url, json=body, headers=customer.headers) as answer:
        assert answer.status == 200
        return await answer.read()


async def _check_idle(gateway: Gateway, operator: Operator, count: int, most_bytes_each: int) -> None:
    """Connections that have asked for something and keep quiet since cost little, and nobody else waits for them."""
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    model, customer = operator.model("demo"), operator.customer()
    writers: list[asyncio.StreamWriter] = []
    async with aiohttp.ClientSession() as session:
        await _chat(session, gateway, customer, model)
        before = process.memory_info().rss
        try:
            for _ in range(count):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writers.append(writer)
                writer.write(head())
                await reader.readuntil(b'"ok"}')
            each = (process.memory_info().rss - before) / count
            await _chat(session, gateway, customer, model)
        finally:
            for writer in writers:
                writer.close()
    assert each < most_bytes_each


async def test_idle_connections(gateway: Gateway, operator: Operator) -> None:
    await _check_idle(gateway, operator, 300, 60_000)


@pytest.mark.long
async def test_10000_idle_connections(gateway: Gateway, operator: Operator) -> None:
    assert gateway.process is not None
    for pid in (0, gateway.process.pid):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    await _check_idle(gateway, operator, 10_000, 25_000)


async def test_slow_readers_slow_nobody(gateway: Gateway, operator: Operator) -> None:
    """200 clients ask for long streams and don't read: what is kept for each is bounded, and others' streams end in time."""
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    long, short = operator.model("demo?big=2000000&chunks=200"), operator.model("demo?chunks=20")
    customer = operator.customer()
    body = json.dumps({"model": long, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    credential = f"Authorization: Bearer {customer.key}"
    request = head("POST", "/v1/chat/completions", credential, f"Content-Length: {len(body)}") + body
    before = process.memory_info().rss
    stuck: list[socket.socket] = []
    try:
        for _ in range(200):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", gateway.port))
            client.sendall(request)
            stuck.append(client)
        async with aiohttp.ClientSession() as session:
            for _ in range(5):
                answer = await _chat(session, gateway, customer, short, stream=True)
                assert answer.endswith(b"data: [DONE]\n\n")
        assert process.memory_info().rss - before < 200 * 500_000
    finally:
        for client in stuck:
            client.close()
    operator.entries(customer, timeout=30)
    assert operator.audit()["ok"]
