"""Two hundred sessions at once, frames both ways: all of them served, each turn charged once, nothing left behind."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import psutil
import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.realtime.talk import dollars, realtime_model, talk

SESSIONS = 200
TURNS = 6
PIECES = 20
USED = "input_text=100&input_audio=400&cached_text=20&cached_audio=300&output_text=10&output_audio=50"
EACH = dollars(80, 100, 10, 50, cached=20, cached_audio=300)


@pytest.mark.long
async def test_a_crowd_is_charged_exactly(gateway: Gateway, operator: Operator) -> None:
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    customer = operator.customer(grant="1000")
    model = realtime_model(operator, f"mirror=1&tokens=1&{USED}")
    before = process.memory_info().rss
    await asyncio.gather(*(converse(gateway, customer, model) for _ in range(SESSIONS)))
    found = await asyncio.to_thread(operator.entries, customer, count=SESSIONS * (TURNS + 1), timeout=60)
    settled = [entry for entry in found if entry["status"] == "settled"]
    assert len(settled) == SESSIONS * TURNS
    assert {Decimal(entry["charged"]) for entry in settled} == {EACH}
    assert len({entry["request_id"] for entry in found}) == SESSIONS
    assert Decimal(operator.account(customer)["charged"]) == EACH * SESSIONS * TURNS
    assert operator.audit()["ok"] is True
    assert process.memory_info().rss - before < 60_000_000


async def converse(gateway: Gateway, customer: Customer, model: str) -> None:
    """Audio all the while, each piece back at once and in order, and some turns."""
    async with talk(gateway, customer, model, open_timeout=60) as session:
        assert (await session.hear())["session"]["model"] == model
        for turn in range(TURNS):
            for piece in range(PIECES):
                mark = f"{turn:04d}{piece:04d}"
                await session.say("input_audio_buffer.append", audio=mark + "A" * 6400)
                assert (await session.until("response.output_audio.delta"))["delta"][:8] == mark
                await asyncio.sleep(0.1)
            await session.turn()
