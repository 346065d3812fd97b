"""Sessions as clients have them: OpenAI's SDK, every way to pass a key, frames both ways, and how they end."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.realtime.talk import dollars, entries, frames, realtime_model, refused, talk, upstream_of


@pytest.fixture(scope="module")
def model(operator: Operator) -> str:
    return realtime_model(operator, "tokens=4&audio_ms=200")


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


async def test_openai_sdk_async(gateway: Gateway, operator: Operator, customer: Customer, model: str) -> None:
    sdk = openai.AsyncOpenAI(
        api_key=customer.key, base_url=gateway.base_url, websocket_base_url=f"ws://127.0.0.1:{gateway.port}/v1"
    )
    async with sdk.realtime.connect(model=model) as connection:
        created = await connection.recv()
        assert created.type == "session.created"
        assert created.session.model == model  # type: ignore[union-attr]
        await connection.session.update(session={"type": "realtime", "model": model, "instructions": "Be brief."})
        updated = await connection.recv()
        assert updated.type == "session.updated"
        assert updated.session.model == model  # type: ignore[union-attr]
        content: Any = [{"type": "input_text", "text": "hello there"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        seen = []
        async for event in connection:
            seen.append(event.type)
            if event.type == "response.done":
                usage = event.response.usage
                break
        assert seen.count("response.output_text.delta") == 4
        assert seen.count("response.output_audio.delta") == 2
    assert usage is not None
    (turn, rest) = await entries(operator, customer, 2)
    assert turn["format"] == "openai_realtime"
    assert turn["status"] == "settled"
    assert turn["usage"]["input_tokens"] == usage.input_tokens
    assert Decimal(turn["charged"]) == dollars(usage.input_tokens or 0, 0, 4, 4)
    assert (rest["status"], rest["charged"], rest["request_id"]) == ("released", "0", turn["request_id"])
