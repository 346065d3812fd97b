"""A gateway of little patience: slow heads, slow rests of bodies, more connections than it takes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import ADMIN_TOKEN, Gateway, Operator
from tests.wire.talk import head, talk

MOST = 40
IDLE = 75.0


@pytest.fixture(scope="module")
def strict(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    data_dir = work_dir / "wire"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_HEAD_TIMEOUT": "0.5",
        "RELAYGATE_BODY_TIMEOUT": "1",
        "RELAYGATE_WRITE_TIMEOUT": "0.5",
        "RELAYGATE_MAX_CONNECTIONS": str(MOST),
    }
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0


async def test_slow_heads(strict: Gateway) -> None:
    """A byte now and then doesn't help: the bound is for the whole head."""

    async def told(first: bytes) -> tuple[int, str]:
        async with talk(strict) as client:
            await client.send(first)
            drip = asyncio.create_task(_drip(client.writer, b"a"))
            answer = await client.answer()
            drip.cancel()
            assert answer is not None
            return answer.status, answer.code

    beginnings = (b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nx: ")
    answers = await asyncio.gather(*(told(first) for first in beginnings))
    assert answers == [(408, "request_timeout")] * len(beginnings)


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


async def test_an_empty_line_keeps_nothing_open(strict: Gateway) -> None:
    """It is no request, but data: the wait for the next request must go on. Nothing was asked, so nothing is told."""
    async with talk(strict) as client:
        await client.send(b"\r\n")
        assert await client.ended() == b""
    async with talk(strict) as client:
        await client.send(head())
        assert await client.answer() is not None
        await client.send(b"\r\n")
        assert await client.ended() == b""


async def test_a_connection_opened_ahead_may_wait(strict: Gateway) -> None:
    """As clients' pools do it; what they weren't told to expect they would take for the answer to their next request."""
    async with talk(strict) as client:
        await asyncio.sleep(1.5)
        await client.send(head())
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


@pytest.mark.long
async def test_a_connection_that_is_never_used_is_closed_without_a_word(strict: Gateway) -> None:
    async with talk(strict) as client, asyncio.timeout(IDLE + 5):
        assert await client.reader.read() == b""


async def test_a_slow_body(strict: Gateway) -> None:
    async with talk(strict) as client:
        await client.send(
            head("POST", "/admin/v1/accounts", "Content-Length: 100000", f"Authorization: Bearer {ADMIN_TOKEN}")
        )
        drip = asyncio.create_task(_drip(client.writer, b" "))
        answer = await client.answer()
        drip.cancel()
        assert answer is not None
        assert (answer.status, answer.code) == (408, "request_timeout")


@pytest.mark.long
async def test_half_a_head_behind_a_request_cuts_nothing(strict: Gateway, demo: DemoProcess) -> None:
    """Its time begins when the answer before it is whole."""
    operator = Operator(strict, demo.url)
    customer, model = operator.customer(), operator.model("demo?delay_ms=1800")
    operator.close()
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    credential = f"Authorization: Bearer {customer.key}"
    async with talk(strict) as client:
        await client.send(
            head("POST", "/v1/chat/completions", credential, f"Content-Length: {len(body)}") + body + b"GET / HT"
        )
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer is not None] == [200, 408]


@pytest.mark.long
async def test_who_reads_nothing_is_let_go(strict: Gateway) -> None:
    """Whatever it asked for; a closed connection with unsent bytes would stay for ever else."""
    assert strict.process is not None
    process = psutil.Process(strict.process.pid)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", strict.port))
        client.sendall(head(path="/openapi.json") * 16)  # more than the kernel takes
        client.recv(1)
        port = client.getsockname()[1]

        def is_open() -> bool:
            return any(link.raddr and link.raddr.port == port for link in process.net_connections("tcp"))

        assert is_open()
        async with asyncio.timeout(15):
            while is_open():
                await asyncio.sleep(0.05)


async def test_too_many_connections(strict: Gateway) -> None:
    """The one too many is told, those that are open go on, and a place that gets free is one."""
    async with AsyncExitStack() as open_ones:
        idle = [await open_ones.enter_async_context(talk(strict)) for _ in range(MOST)]
        for client in idle:  # served once, they may keep quiet for long
            await client.send(head())
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
        async with talk(strict) as client:
            refused = await client.answer()
        assert refused is not None
        assert (refused.status, refused.code) == (503, "too_many_connections")
        await idle[0].send(head())
        answer = await idle[0].answer()
        assert answer is not None
        assert answer.status == 200
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
