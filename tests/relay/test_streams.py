"""Streams in time: nothing is gathered, clients that hang up or don't read, and what they pay."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import psutil
import pytest

from app.demo.answers import WORDS
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator, sse_data
from tests.relay.calls import (
    Client,
    assert_charged,
    authorization,
    chat,
    connect,
    demo_model,
    disconnected,
    dollars,
    raw_request,
    received,
    serve_model,
    text_of,
    tokens,
    upstream_name,
)
from tests.relay.upstream import DONE, Conversation, chunk, serve


async def entry_of(operator: Operator, customer: Customer) -> dict[str, Any]:
    (entry,) = await asyncio.to_thread(operator.entries, customer, count=1)
    return entry


def streamed(customer: Customer, model: str, **fields: Any) -> bytes:
    return raw_request(chat(model, stream=True, **fields), authorization(customer), ("connection", "close"))


async def test_each_chunk_leaves_as_it_comes(operator: Operator, gateway: Gateway) -> None:
    turn = asyncio.Event()

    async def script(talk: Conversation) -> None:
        await talk.head()
        for number in range(3):
            await talk.send(chunk(f"{number}"))
            await asyncio.wait_for(turn.wait(), 5)
            turn.clear()
        await talk.send(chunk(finish="stop") + DONE)

    customer = operator.customer()
    async with serve(script) as base_url:
        model = serve_model(operator, {"base_url": base_url})
        async with connect(gateway, streamed(customer, model)) as wire:
            status, headers = await wire.read_head()
            for number in range(3):  # the upstream goes on only when the client has the chunk
                assert text_of(await wire.read_events(1)) == str(number)
                turn.set()
            assert (await wire.read_events(2))[-1] == "[DONE]"

    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")


async def test_keep_alive_comments_pass(operator: Operator, client: Client) -> None:
    answer = await client.chat(operator.customer(), demo_model(operator, "tokens=3&comments=1"), stream=True)

    assert answer.body.count(b": keep-alive\n\n") >= 4
    assert answer.events[-1] == "[DONE]"


async def test_a_streams_entry_says_when_it_began(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    await client.chat(customer, demo_model(operator, "chunks=4&chunk_ms=100&delay_ms=100"), stream=True)
    entry = await entry_of(operator, customer)

    assert 100 <= entry["first_byte_ms"] < 350
    assert entry["latency_ms"] >= entry["first_byte_ms"] + 250


# -- hanging up --------------------------------------------------------------------------------------------------------


def assert_left(entry: dict[str, Any], at_least: int, at_most: int) -> None:
    """A request whose client left: input and what was produced by then, which is a word of a token a chunk."""
    produced = entry["usage"]["output_tokens"]
    assert at_least <= produced <= at_most
    assert_charged(entry, tokens("hi"), produced, estimated=True)
    assert entry["error"] == "client_closed_request"


async def test_hanging_up_in_a_stream(operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
    upstream, customer = upstream_name("chunks=60&chunk_ms=50"), operator.customer()
    model = serve_model(operator, {"upstream_model": upstream})
    async with connect(gateway, streamed(customer, model)) as wire:
        await wire.read_head()
        events = await wire.read_events(6)  # the role, then five words
    request = await disconnected(demo, upstream, within=1.0)

    assert text_of(events).split() == list(WORDS[:5])
    assert not request["finished"]
    assert_left(await entry_of(operator, customer), 5, request["chunks_sent"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_hanging_up_before_the_first_byte(
    operator: Operator, gateway: Gateway, demo: DemoProcess, stream: bool
) -> None:
    upstream, customer = upstream_name("delay_ms=1400"), operator.customer()
    model = serve_model(operator, {"upstream_model": upstream}, {"upstream_model": upstream_name()})
    async with connect(gateway, raw_request(chat(model, stream=stream), authorization(customer))):
        while not await asyncio.to_thread(received, demo, upstream):
            await asyncio.sleep(0.01)
    await disconnected(demo, upstream, within=1.0)
    entry = await entry_of(operator, customer)

    assert_left(entry, 0, 0)
    assert entry["attempts"] == 1


async def test_hanging_up_while_a_whole_answer_arrives(operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
    upstream, customer = upstream_name("stall=chunk:1"), operator.customer()
    model = serve_model(operator, {"upstream_model": upstream})
    async with connect(gateway, raw_request(chat(model), authorization(customer))):
        while not await asyncio.to_thread(received, demo, upstream):
            await asyncio.sleep(0.01)
    await disconnected(demo, upstream, within=1.0)

    assert_left(await entry_of(operator, customer), 0, 0)


async def test_hanging_up_with_the_request_half_sent(operator: Operator, gateway: Gateway) -> None:
    customer, model = operator.customer(), demo_model(operator, "")
    async with connect(gateway, streamed(customer, model)[:-5]):
        await asyncio.sleep(0)

    assert await asyncio.to_thread(operator.entries, customer) == []


async def test_a_gateway_that_drains_reads_on_for_the_usage(
    other_operator: Operator, other_gateway: Gateway, demo: DemoProcess
) -> None:
    async def leave(upstream: str, *, stream: bool) -> None:
        customer = other_operator.customer()
        model = serve_model(other_operator, {"upstream_model": upstream})
        request = raw_request(chat(model, stream=stream), authorization(customer))
        async with connect(other_gateway, request) as wire:
            if stream:
                await wire.read_events(3)
            while not await asyncio.to_thread(received, demo, upstream):
                await asyncio.sleep(0.01)
        entry = await entry_of(other_operator, customer)
        (seen,) = received(demo, upstream)

        assert_charged(entry, 8, 20)
        assert (seen["finished"], seen["disconnected"]) == (True, False)

    await asyncio.gather(
        leave(upstream_name("chunks=20&chunk_ms=50"), stream=True),
        leave(upstream_name("tokens=20&delay_ms=1000"), stream=False),
    )


async def test_a_drain_has_an_end(other_operator: Operator, other_gateway: Gateway, demo: DemoProcess) -> None:
    upstream, customer = upstream_name("chunks=200&chunk_ms=50"), other_operator.customer()
    model = serve_model(other_operator, {"upstream_model": upstream})
    async with connect(other_gateway, streamed(customer, model)) as wire:
        await wire.read_events(3)
    left = time.monotonic()
    request = await disconnected(demo, upstream, within=6.0)
    entry = await entry_of(other_operator, customer)

    assert 3.0 < time.monotonic() - left < 6.0
    assert_left(entry, 50, request["chunks_sent"])


SMALL = 16 * 1024
"""A receive window; with the server's own buffers of up to 4 MB it is far below what the streams below hold."""

# -- slow readers ------------------------------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_stalls_nobody(operator: Operator, client: Client, gateway: Gateway) -> None:
    assert gateway.process is not None
    long = demo_model(operator, "tokens=40000", max_output_tokens=100_000)
    short = demo_model(operator, "tokens=5")
    slow, others = operator.customer(), operator.customer()
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    async with connect(gateway, streamed(slow, long), window=SMALL) as wire:
        await wire.read_head()
        answers = await asyncio.gather(*(client.chat(others, short, stream=s) for s in (False, True) * 10))
        assert process.memory_info().rss - before < 50 * 1024 * 1024
        text = text_of(list(sse_data((await wire.read_to_end()).decode())))

    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 2.0
    assert len(text.split()) == 40_000
    assert_charged(await entry_of(operator, slow), 8, 40_000)


async def test_a_client_that_never_reads_is_left_and_pays_for_what_was_produced(
    other_operator: Operator, other_gateway: Gateway
) -> None:
    customer = other_operator.customer()
    model = demo_model(other_operator, "tokens=40000", max_output_tokens=100_000)
    async with connect(other_gateway, streamed(customer, model), window=SMALL) as wire:
        await wire.read_head()
        entry = await entry_of(other_operator, customer)

    assert (entry["error"], entry["estimated"], entry["status"]) == ("client_stalled", True, "settled")
    assert 0 < entry["usage"]["output_tokens"] < 40_000
    assert 1_000 <= entry["latency_ms"] < 5_000


async def test_a_body_that_trickles_in_is_refused(other_operator: Operator, other_gateway: Gateway) -> None:
    customer = other_operator.customer()
    started = time.monotonic()
    async with connect(other_gateway, streamed(customer, demo_model(other_operator, ""))[:-1]) as wire:
        status, headers = await wire.read_head()
        body = await asyncio.wait_for(wire.reader.readexactly(int(headers["content-length"])), 5)

    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")
    assert 0.9 < time.monotonic() - started < 3.0
    assert other_operator.entries(customer) == []


async def test_many_streams_at_once_keep_apart(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    words = [f"word{number}" for number in range(12)]
    models = [demo_model(operator, f"reply={word}+{word}&chunk_ms=20&chunks=2") for word in words]
    answers = await asyncio.gather(*(client.chat(customer, model, stream=True) for model in models * 5))
    found = await asyncio.to_thread(operator.entries, customer, count=60)

    assert [answer.text for answer in answers] == [f"{word} {word}" for word in words] * 5
    assert len({answer.headers["x-request-id"] for answer in answers}) == 60
    assert {entry["model"] for entry in found} == set(models)
    assert all(dollars(8, 1) < dollars(8, entry["usage"]["output_tokens"]) for entry in found)
