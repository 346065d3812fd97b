"""The demo notices that its client has left, at once and wherever it waits."""

import asyncio
import json
import time

import pytest

from tests.demo.process import DemoProcess
from tests.demo.wire import HEADERS, ask, call, chat, stream

PROMPT = 2.0  # seconds; generous for a loaded machine, far below any wait that is left


@pytest.mark.parametrize(
    "payload",
    [
        chat("demo?delay_ms=60000"),
        stream("demo?delay_ms=60000"),
        chat("demo?stall=headers"),
        stream("demo?stall=headers"),
    ],
)
async def test_client_leaves_before_the_headers(demo: DemoProcess, payload: object) -> None:
    async with call(demo, payload) as wire:
        assert await wire.is_silent()
    left_at = time.time()

    (entry,) = await asyncio.to_thread(demo.settled)
    assert (entry["disconnected"], entry["finished"], entry["chunks_sent"]) == (True, False, 0)
    assert left_at - PROMPT <= entry["disconnected_at"] <= left_at + PROMPT


@pytest.mark.parametrize(
    ("payload", "chunks"),
    [
        (stream("demo?stall=first"), 0),
        (chat("demo?stall=first"), 0),
        (chat("demo?stall=chunk:1"), 0),
        (stream("demo?stall=chunk:3"), 3),
        (stream("demo?chunk_ms=60000"), 1),
        (chat("demo?blank_lead=9&lead_ms=60000"), 0),
    ],
)
async def test_client_leaves_inside_the_answer(demo: DemoProcess, payload: object, chunks: int) -> None:
    async with call(demo, payload) as wire:
        await wire.read_head()
        for _ in range(1 + chunks if chunks else 0):
            await wire.read_piece()
    left_at = time.time()

    (entry,) = await asyncio.to_thread(demo.settled)
    assert (entry["disconnected"], entry["finished"], entry["chunks_sent"]) == (True, False, chunks)
    assert abs(entry["disconnected_at"] - left_at) < PROMPT


async def test_client_leaves_a_stream_it_does_not_read(demo: DemoProcess) -> None:
    # 24 MB: more than the socket buffers of both sides may take in while nobody reads.
    async with call(demo, stream("demo?chunks=100000")) as wire:
        await wire.read_head()
        await wire.read_piece()

    (entry,) = await asyncio.to_thread(demo.settled)
    assert entry["disconnected"]
    assert 0 < entry["chunks_sent"] < 100_000


async def test_client_leaves_a_split_answer(demo: DemoProcess) -> None:
    async with call(demo, stream("demo?chunks=20000&split=1")) as wire:
        await wire.read_head()
        await wire.read_piece()

    (entry,) = await asyncio.to_thread(demo.settled)
    assert (entry["disconnected"], entry["finished"]) == (True, False)


async def test_client_leaves_within_its_own_request(demo: DemoProcess) -> None:
    before = demo.control("GET", "stats")
    reader, writer = await asyncio.open_connection("127.0.0.1", demo.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    start = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99\r\n{lines}\r\n"
    )
    writer.write(start.encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # it waits for the body now
    writer.close()
    await writer.wait_closed()

    assert await asyncio.to_thread(demo.settled) == []
    after = demo.control("GET", "stats")
    assert (after["requests"] - before["requests"], after["disconnects"] - before["disconnects"]) == (1, 1)


@pytest.mark.parametrize(
    "payload",
    [
        chat(),
        stream(),
        stream("demo?chunks=500"),
        stream("demo?chunk_ms=5"),
        chat("demo?delay_ms=10"),
        chat("demo?status=500&delay_ms=10"),
        stream("demo?split=20&gzip=1"),
    ],
)
async def test_finished_answers_are_no_disconnects(demo: DemoProcess, payload: object) -> None:
    assert (await ask(demo, payload)).complete

    (entry,) = await asyncio.to_thread(demo.settled)
    assert (entry["finished"], entry["disconnected"], entry["disconnected_at"]) == (True, False, None)


async def test_cut_answers_are_neither_finished_nor_left(demo: DemoProcess) -> None:
    await ask(demo, stream("demo?cut=2"))

    (entry,) = await asyncio.to_thread(demo.settled)
    assert (entry["finished"], entry["disconnected"], entry["chunks_sent"]) == (False, False, 2)


async def test_pipelined_and_kept_alive_connections(demo: DemoProcess) -> None:
    """A watch that outlived its answer would eat the next request of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", demo.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    for payload in (chat("demo?delay_ms=5"), stream("demo?chunk_ms=1"), chat("demo?reply=last")):
        body = json.dumps(payload).encode()
        start = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        writer.write(start.encode() + body)
    async with asyncio.timeout(5):
        answers = await reader.readuntil(b'"content":"last"')
    writer.close()

    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b"data: [DONE]") == 1
