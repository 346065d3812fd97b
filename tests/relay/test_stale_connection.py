"""A kept-alive upstream connection that dies just as it is used again: the client never hears of it."""

from __future__ import annotations

import asyncio

from tests.gateway import Operator
from tests.relay.calls import Client, serve_model

ANSWER = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


async def test_a_dead_idle_connection_is_no_error(client: Client, operator: Operator) -> None:
    """The upstream answers one request a connection and closes it unanswered when a second one comes over it."""
    received: list[int] = []
    connections = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        number = connections
        try:
            await _read_request(reader)
            received.append(number)
            writer.write(HEAD + ANSWER)
            await writer.drain()
            await _read_request(reader)
            received.append(number)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        customer = operator.customer()
        model = serve_model(operator, {"base_url": url})
        answers = [await client.chat(customer, model) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert received == [1, 1, 2]
    entries = operator.entries(customer, count=2)
    assert [entry["status"] for entry in entries] == ["settled", "settled"]


async def test_an_upstream_that_always_drops_is_asked_twice_and_no_more(client: Client, operator: Operator) -> None:
    received = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await _read_request(reader)
        received += 1
        writer.close()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        customer = operator.customer()
        answer = await client.chat(customer, serve_model(operator, {"base_url": url}))

    assert answer.status == 502
    assert received == 2
    assert [entry["charged"] for entry in operator.entries(customer, count=1)] == ["0"]
