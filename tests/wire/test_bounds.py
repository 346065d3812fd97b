"""A gateway of little patience: slow heads, slow rests of bodies, more connections than it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.gateway import Gateway
from tests.wire.talk import head, talk


@pytest.fixture(scope="module")
def strict(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    data_dir = work_dir / "wire"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_HEAD_TIMEOUT": "0.5",
        "RELAYGATE_BODY_TIMEOUT": "1",
        "RELAYGATE_MAX_CONNECTIONS": "40",
    }
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("first", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nx: "])
async def test_a_slow_head(strict: Gateway, first: bytes) -> None:
    """A byte now and then doesn't help: the bound is for the whole head."""
    async with talk(strict) as client:
        await client.send(first)
        drip = asyncio.create_task(_drip(client.writer, b"a" if first else b""))
        answer = await client.answer()
        drip.cancel()
        assert answer is not None
        assert (answer.status, answer.code) == (408, "request_timeout")


async def test_a_slow_second_head(strict: Gateway) -> None:
    async with talk(strict) as client:
        await client.send(head())
        first = await client.answer()
        assert first is not None
        assert first.status == 200
        await client.send(b"GET / HT")
        second = await client.answer()
        assert second is not None
        assert second.status == 408


async def test_a_slow_rest_of_a_body_that_nobody_wants(strict: Gateway) -> None:
    async with talk(strict) as client:
        await client.send(head("POST", "/v1/chat/completions", "Content-Length: 100000"))
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 401
        drip = asyncio.create_task(_drip(client.writer, b"a"))
        rest = await client.ended()
        drip.cancel()
        assert b"408" in rest.split(b"\r\n")[0]


async def test_too_many_connections(strict: Gateway) -> None:
    """The one too many is told, those that are open go on, and a place that gets free is one."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with session.get(f"{strict.url}/healthz") as answer:
            assert answer.status == 200
        idle = [await asyncio.open_connection("127.0.0.1", strict.port) for _ in range(39)]
        async with talk(strict) as client:
            refused = await client.answer()
        assert refused is not None
        assert (refused.status, refused.code) == (503, "too_many_connections")
        async with session.get(f"{strict.url}/healthz") as answer:
            assert answer.status == 200
        for _, writer in idle:
            writer.close()
    await _until_served(strict)


async def _drip(writer: asyncio.StreamWriter, byte: bytes) -> None:
    while True:
        await asyncio.sleep(0.1)
        writer.write(byte)


async def _until_served(gateway: Gateway) -> None:
    async with asyncio.timeout(10):
        while True:
            async with talk(gateway) as client:
                await client.send(head())
                answer = await client.answer()
                if answer is not None and answer.status == 200:
                    return
