"""SIGTERM: what is open is finished within the bound, what isn't is settled, and no hold is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.relay.calls import Client, authorization, chat, connect, demo_model, dollars, raw_request, text_of, tokens


@pytest.fixture
def started(
    start_gateway: Callable[..., Gateway], demo: DemoProcess
) -> Iterator[Callable[..., tuple[Gateway, Operator]]]:
    """Starts a gateway with an operator for it."""
    operators: list[Operator] = []

    def start(**settings: str) -> tuple[Gateway, Operator]:
        gateway = start_gateway(**settings)
        operators.append(Operator(gateway, demo.url))
        return gateway, operators[-1]

    yield start
    for operator in operators:
        operator.close()


async def ledger_of(gateway: Gateway) -> tuple[int, list[dict[str, Any]]]:
    """How many holds are open, and all entries, by the database itself: the gateway is gone."""
    connection = await asyncpg.connect(gateway.database_url)
    try:
        holds: int = await connection.fetchval("SELECT count(*) FROM holds")
        return holds, [dict(row) for row in await connection.fetch("SELECT * FROM entries")]
    finally:
        await connection.close()


async def closed_to_new(gateway: Gateway) -> None:
    """Returns once new connections are refused."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            async with connect(gateway):
                await asyncio.sleep(0.01)
        pytest.fail("new connections are still taken")


async def test_open_streams_are_finished(started: Callable[..., tuple[Gateway, Operator]]) -> None:
    gateway, operator = started()
    client, customer = Client(gateway), operator.customer()
    model = demo_model(operator, "chunks=20&chunk_ms=50")
    request = raw_request(chat(model, stream=True), authorization(customer))
    whole = asyncio.create_task(client.chat(customer, demo_model(operator, "tokens=3&delay_ms=800")))
    async with connect(gateway, request) as first, connect(gateway, request) as second:
        for wire in (first, second):
            await wire.read_events(2)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        await closed_to_new(gateway)
        events = [await wire.read_events(21) for wire in (first, second)]
        answer = await whole
    await client.close()

    assert await asyncio.to_thread(gateway.process.wait, 10) == 0
    assert [rest[-1] for rest in events] == ["[DONE]"] * 2
    assert answer.text.split()
    holds, entries = await ledger_of(gateway)
    assert (holds, sorted(entry["charged"] for entry in entries)) == (
        0,
        sorted(int(dollars(8, count) * 10**9) for count in (20, 20, 3)),
    )
    assert "Traceback" not in gateway.log


@pytest.mark.long
async def test_what_takes_longer_is_cut_and_settled(started: Callable[..., tuple[Gateway, Operator]]) -> None:
    gateway, operator = started(RELAYGATE_DRAIN="1")
    customer, model = operator.customer(), demo_model(operator, "chunks=400&chunk_ms=50")
    async with connect(gateway, raw_request(chat(model, stream=True), authorization(customer))) as wire:
        events = await wire.read_events(3)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        raw = (await wire.read_to_end()).decode()
    exit_code = await asyncio.to_thread(gateway.process.wait, 10)
    holds, (entry,) = await ledger_of(gateway)

    events += [line[6:] for line in raw.splitlines() if line.startswith("data: ")]
    assert "[DONE]" not in events
    assert not raw.endswith("\r\n0\r\n\r\n")  # the cut is no proper end: SDKs raise
    assert (exit_code, holds) == (0, 0)
    produced = tokens(text_of(events))
    assert (entry["status"], entry["estimated"], entry["error"]) == ("settled", True, "gateway_stopped")
    assert produced <= (entry["charged"] / 1000 - 1) / 2 <= produced + 2
