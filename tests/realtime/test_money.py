"""What sessions are charged: turn by turn, to the nano-dollar, whatever becomes of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from app.formats.openai_media.usage import read_realtime
from tests.gateway import Customer, Gateway, Operator
from tests.realtime.talk import PRICE, dollars, entries, realtime_model, refused, talk

VENDOR = {
    "total_tokens": 1567,
    "input_tokens": 1325,
    "output_tokens": 242,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 1006,
        "image_tokens": 200,
        "cached_tokens": 896,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 832, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 45, "audio_tokens": 197},
}
"""As OpenAI's types have it."""

MODALITIES = (
    "input_text=119&input_audio=1006&input_image=200&cached_text=64&cached_audio=832&output_text=45&output_audio=197"
)


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


def test_a_vendors_usage_is_read_by_modality() -> None:
    usage = read_realtime(VENDOR)
    assert usage is not None
    assert usage.counts() == {
        "input_tokens": 1325,
        "output_tokens": 242,
        "cache_read_tokens": 896,
        "cache_audio_read_tokens": 832,
        "input_audio_tokens": 1006,
        "input_image_tokens": 200,
        "output_audio_tokens": 197,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"input_tokens": 10**15},
        {"output_tokens": -1},
        {"input_tokens": "7"},
        {"output_tokens": None},
        {"input_tokens": True},
    ],
)
def test_what_is_beyond_belief_is_no_usage(change: dict[str, Any]) -> None:
    assert read_realtime({**VENDOR, **change}) is None


def test_details_are_never_more_than_the_whole() -> None:
    details = {"audio_tokens": 10**6, "cached_tokens": 500, "cached_tokens_details": {"audio_tokens": 10**6}}
    usage = read_realtime({"input_tokens": 100, "output_tokens": 5, "input_token_details": details})
    assert usage is not None
    assert (usage.input_audio_tokens, usage.cache_read_tokens, usage.cache_audio_read_tokens) == (100, 100, 100)


async def test_every_modality_at_its_price(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, MODALITIES)
    async with talk(gateway, customer, model) as session:
        await session.turn()
        await session.turn()
    *turns, rest = await entries(operator, customer, 3)
    # Text 119 - 64 cached, audio 1006 - 832 cached, 200 of pictures at 5 dollars.
    each = dollars(119 - 64, 1006 - 832, 45, 197, cached=64, cached_audio=832) + Decimal(200 * 5) / 1_000_000
    assert [Decimal(turn["charged"]) for turn in turns] == [each, each]
    assert {entry["request_id"] for entry in (*turns, rest)} == {turns[0]["request_id"]}
    assert (rest["status"], rest["charged"]) == ("released", "0")
    assert operator.audit()["ok"] is True


async def test_what_comes_twice_is_charged_once(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "tokens=2&twice=1&transcribe=tokens&heard=30")
    async with talk(gateway, customer, model) as session:
        first = await session.turn()
        assert first["response"] == (await session.until("response.done"))["response"]
        await session.say("input_audio_buffer.commit")
        heard = "conversation.item.input_audio_transcription.completed"
        first = await session.until(heard)
        assert first["item_id"] == (await session.until(heard))["item_id"]
    turn, transcription, rest = await entries(operator, customer, 3)
    assert Decimal(turn["charged"]) == dollars(0, 0, 2, 0)
    assert Decimal(transcription["charged"]) == dollars(0, 30, 5, 0)
    assert transcription["usage"]["traits"] == {"input": "transcription"}
    assert rest["status"] == "released"


async def test_transcription_may_have_a_price_of_its_own(
    gateway: Gateway, operator: Operator, customer: Customer
) -> None:
    variant = {"when": {"input": "transcription"}, "per_minute": "0.006", "input_mtok": "0", "output_mtok": "0"}
    model = realtime_model(operator, "transcribe=seconds&heard=90", price={**PRICE, "variants": [variant]})
    async with talk(gateway, customer, model) as session:
        await session.say("input_audio_buffer.commit")
        await session.until("conversation.item.input_audio_transcription.completed")
    transcription, _ = await entries(operator, customer, 2)
    assert Decimal(transcription["charged"]) == Decimal("0.009")
    assert transcription["usage"]["milliseconds"] == 90_000


@pytest.mark.parametrize("usage", ["missing", "huge", "negative"])
async def test_without_usage_it_is_estimated(
    gateway: Gateway, operator: Operator, customer: Customer, usage: str
) -> None:
    model = realtime_model(operator, f"tokens=7&audio_ms=1000&usage={usage}")
    async with talk(gateway, customer, model) as session:
        second = base64.b64encode(bytes(48_000)).decode()
        await session.say("input_audio_buffer.append", audio=second)
        await session.turn()
    turn, _ = await entries(operator, customer, 2)
    assert turn["estimated"] is True
    used = turn["usage"]
    assert (used["input_audio_tokens"], used["output_audio_tokens"], used["output_tokens"]) == (10, 20, 27)
    text = used["input_tokens"] - 10
    assert 0 < text < 20  # response.create itself
    assert Decimal(turn["charged"]) == dollars(text, 10, 7, 20)


async def test_a_transcription_without_usage_is_estimated(
    gateway: Gateway, operator: Operator, customer: Customer
) -> None:
    model = realtime_model(operator, "transcribe=untold")
    completed = "conversation.item.input_audio_transcription.completed"
    async with talk(gateway, customer, model) as session:
        for seconds in (3, 1):
            await session.say("input_audio_buffer.append", audio=base64.b64encode(bytes(48_000 * seconds)).decode())
            await session.say("input_audio_buffer.commit")
            await session.until(completed)
    first, second, _ = await entries(operator, customer, 3)
    assert first["estimated"] is second["estimated"] is True
    heard = [(entry["usage"]["milliseconds"], entry["usage"]["input_audio_tokens"]) for entry in (first, second)]
    assert heard == [(3000, 30), (1000, 10)]
    assert Decimal(first["charged"]) == dollars(0, 30, 1, 0)  # "demo" is one token


async def test_zero_is_believed(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "usage=zero")
    async with talk(gateway, customer, model) as session:
        await session.turn()
    turn, _ = await entries(operator, customer, 2)
    assert (turn["status"], turn["charged"], turn["estimated"]) == ("settled", "0", False)


async def test_a_failed_response_costs_nothing(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "failed=1")
    async with talk(gateway, customer, model) as session:
        await session.turn()
        await session.turn()
    (rest,) = await entries(operator, customer, 1)
    assert rest["status"] == "released"


async def test_a_client_that_goes_in_the_middle(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """The turn before is the context of the one that was broken off: it counts as cached."""
    model = realtime_model(operator, "tokens=40&chunk_ms=25&input_text=100&input_audio=50")
    async with talk(gateway, customer, model) as session:
        await session.turn()
        await session.say("response.create")
        for _ in range(10):
            await session.until("response.output_text.delta")
        session.socket.transport.abort()
    first, broken = await entries(operator, customer, 2)
    assert Decimal(first["charged"]) == dollars(100, 50, 40, 0)
    assert broken["estimated"] is True
    assert broken["error"] == "client_closed_request"
    used = broken["usage"]
    assert used["cache_read_tokens"] == 190
    assert used["cache_audio_read_tokens"] == 50
    assert 10 <= used["output_tokens"] <= 14


async def test_an_upstream_that_goes_in_the_middle(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "tokens=40&cut=12")
    async with talk(gateway, customer, model) as session:
        await session.say("response.create")
        code, _, events = await session.end()
    assert code == 1011
    assert events[-1]["error"]["code"] == "upstream_disconnected"
    (broken,) = await entries(operator, customer, 1)
    assert (broken["estimated"], broken["error"]) == (True, "upstream_disconnected")
    assert broken["usage"]["output_tokens"] == 12


async def test_money_that_runs_out(gateway: Gateway, operator: Operator) -> None:
    """Each turn costs 2.4 cents. The slices get smaller, down to what a short answer costs."""
    customer = operator.customer(grant="0.1")
    model = realtime_model(operator, "output_text=1500")
    async with talk(gateway, customer, model) as session:
        for _ in range(3):
            await session.turn()
        await session.say("response.create")
        code, reason, events = await session.end()
    assert (code, reason) == (1008, "insufficient_quota")
    assert events[-2]["type"] == "response.done"
    error = events[-1]["error"]
    assert events[-1]["type"] == "error"
    assert events[-1]["event_id"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    found = await entries(operator, customer, 4)
    assert [Decimal(entry["charged"]) for entry in found] == [Decimal("0.024")] * 4
    assert Decimal(operator.account(customer)["balance"]) == Decimal("0.004")
    assert (await refused(gateway, customer, model))[0] == 429


async def test_two_sessions_share_what_is_left(gateway: Gateway, operator: Operator) -> None:
    """The first one's slice doesn't make the second one wait until it ends."""
    customer = operator.customer(grant="0.8")
    model = realtime_model(operator, "")
    async with talk(gateway, customer, model) as first, talk(gateway, customer, model) as second:
        await first.turn()
        await second.turn()
    await entries(operator, customer, 4)


async def test_time_is_metered(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "tokens=1", price={"per_minute": "6", "output_mtok": "0"})
    loop = asyncio.get_running_loop()
    async with talk(gateway, customer, model) as session:
        await session.hear()
        began = loop.time()
        await asyncio.sleep(0.3)
        await session.turn()
        await asyncio.sleep(0.4)
        spent = loop.time() - began
    turn, rest = await entries(operator, customer, 2)
    assert 300 <= turn["usage"]["milliseconds"] < 600
    total = turn["usage"]["milliseconds"] + rest["usage"]["milliseconds"]
    assert spent * 1000 - 5 <= total < spent * 1000 + 200
    for entry in (turn, rest):
        assert Decimal(entry["charged"]) == Decimal(entry["usage"]["milliseconds"]) / 10_000


async def test_a_price_by_the_call_is_for_responses(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "transcribe=tokens", price={"per_call": "0.01"})
    async with talk(gateway, customer, model) as session:
        await session.turn()
        await session.say("input_audio_buffer.commit")
        await session.until("conversation.item.input_audio_transcription.completed")
        await session.turn()
    found = await entries(operator, customer, 4)
    assert [entry["charged"] for entry in found] == ["0.01", "0", "0.01", "0"]


async def test_a_process_that_is_killed(start_gateway: Callable[..., Gateway], operator: Operator) -> None:
    """Its slice is resolved by the sweeper: at what the conversation so far costs to read."""
    killed = start_gateway(RELAYGATE_LEASE="2")
    own = Operator(killed, operator.demo_url)
    customer = own.customer()
    model = realtime_model(own, "input_text=1000&output_text=0")
    try:
        async with talk(killed, customer, model) as session:
            await session.turn()
            await asyncio.sleep(0.3)
            killed.kill()
        killed.start()
        turn, orphan = await entries(own, customer, 2)
        assert Decimal(turn["charged"]) == dollars(1000, 0, 0, 0)
        assert orphan["status"] == "orphaned"
        assert Decimal(orphan["charged"]) == dollars(0, 0, 0, 0, cached=1000)
    finally:
        own.close()


async def test_a_response_that_was_refused_costs_nothing(
    gateway: Gateway, operator: Operator, customer: Customer
) -> None:
    model = realtime_model(operator, "error=1")
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.say("response.create")
        assert (await session.hear())["error"]["code"] == "demo_error"
    (rest,) = await entries(operator, customer, 1)
    assert (rest["status"], rest["error"]) == ("released", None)


async def test_limits_count_every_turn(gateway: Gateway, operator: Operator) -> None:
    customer = operator.customer(rpm=2)
    model = realtime_model(operator, "tokens=1")
    async with talk(gateway, customer, model) as session:
        await session.turn()
        await session.say("response.create")
        code, _, events = await session.end()
    assert (code, events[-1]["error"]["code"]) == (1008, "rate_limit_exceeded")
    found = await entries(operator, customer, 2)
    assert [entry["status"] for entry in found] == ["settled", "settled"]


@pytest.mark.long
async def test_time_is_settled_once_a_minute(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """Without a word being said."""
    model = realtime_model(operator, "", price={"per_second": "0.001"})
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await asyncio.sleep(65)
    minute, rest = await entries(operator, customer, 2)
    assert 60_000 <= minute["usage"]["milliseconds"] < 63_000
    assert 64_900 <= minute["usage"]["milliseconds"] + rest["usage"]["milliseconds"] < 67_000
    assert Decimal(minute["charged"]) == Decimal(minute["usage"]["milliseconds"]) / 1_000_000
